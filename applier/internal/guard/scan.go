package guard

import (
	"strings"
)

// allowed are the first words of statements that only read and write rows.
// Everything else is refused: transaction words, DDL, and what sets or locks.
// A list of what is allowed needs no update when a database gets a new verb.
var allowed = map[string]bool{
	"SELECT": true, "INSERT": true, "UPDATE": true, "DELETE": true, "REPLACE": true, "MERGE": true,
	"WITH": true, "VALUES": true, "EXPLAIN": true,
}

// Statement refuses a text that is not one statement that reads or writes rows.
func Statement(query string) error {
	s := scanner{text: query}
	s.space()
	word := s.word()
	if !allowed[word] {
		return &EscapeError{"runs " + describe(word) + "; it may run SELECT, INSERT, UPDATE, DELETE, REPLACE, MERGE, WITH and VALUES"}
	}
	if s.statement(); !s.end() {
		return &EscapeError{"runs several statements in one text"}
	}
	return nil
}

func describe(word string) string {
	if word == "" {
		return "no statement"
	}
	return word
}

// scanner finds the ends of statements, without understanding them: it only
// has to know what quotes and comments hide.
type scanner struct {
	text string
	at   int
}

// end skips separators, and reports whether nothing else follows.
func (s *scanner) end() bool {
	for {
		s.space()
		if s.at >= len(s.text) {
			return true
		}
		if s.text[s.at] != ';' {
			return false
		}
		s.at++
	}
}

// space skips white space and comments.
func (s *scanner) space() {
	for s.at < len(s.text) && (strings.IndexByte(" \t\r\n\f\v(", s.text[s.at]) >= 0 || s.comment()) {
		if !s.skipComment() {
			s.at++
		}
	}
}

func (s *scanner) comment() bool {
	rest := s.text[s.at:]
	return strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "/*") || strings.HasPrefix(rest, "#")
}

func (s *scanner) skipComment() bool {
	rest := s.text[s.at:]
	switch {
	case strings.HasPrefix(rest, "/*!"), strings.HasPrefix(rest, "/*M!"):
		return false // MySQL executes what is in it: not a comment
	case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "#"):
		s.past("\n", 1)
	case strings.HasPrefix(rest, "/*"):
		s.past("*/", 2)
	default:
		return false
	}
	return true
}

// past moves behind the next end mark, from n bytes on.
func (s *scanner) past(mark string, n int) {
	i := strings.Index(s.text[min(s.at+n, len(s.text)):], mark)
	if i < 0 {
		s.at = len(s.text)
		return
	}
	s.at += n + i + len(mark)
}

func (s *scanner) word() string {
	from := s.at
	for s.at < len(s.text) && (s.text[s.at]|0x20 >= 'a' && s.text[s.at]|0x20 <= 'z') {
		s.at++
	}
	return strings.ToUpper(s.text[from:s.at])
}

// statement moves to the next ';' that is not hidden, or to the end.
func (s *scanner) statement() {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ';':
			return
		case '\'', '"', '`':
			s.past(string(c), 1)
		case '[':
			s.past("]", 1)
		case '-', '/':
			if !s.skipComment() {
				s.at++
			}
		default:
			s.at++
		}
	}
}
