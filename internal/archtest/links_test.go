package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	mdLink    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	mdFence   = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	mdHeading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	notAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// Every relative link of every page leads to a file, and its fragment to a
// heading there. Other sites are not asked.
func TestMarkdownLinks(t *testing.T) {
	pages := 0
	for _, page := range tracked(t) {
		if !strings.HasSuffix(page, ".md") {
			continue
		}
		pages++
		for _, m := range mdLink.FindAllStringSubmatch(mdFence.ReplaceAllString(readPage(t, page), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target, fragment, _ := strings.Cut(m[1], "#")
			to := page
			if target != "" {
				to = filepath.Join(filepath.Dir(page), target)
			}
			info, err := os.Stat(filepath.Join(root, to))
			if err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
				continue
			}
			if fragment != "" && !info.IsDir() && !anchors(readPage(t, to))[fragment] {
				t.Errorf("%s links to %s: no such heading", page, m[1])
			}
		}
	}
	require.NotZero(t, pages)
}

func readPage(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(t, err)
	return string(text)
}

// anchors are a page's headings as fragments: lower case, blanks as hyphens,
// other punctuation dropped.
func anchors(page string) map[string]bool {
	out := map[string]bool{}
	for _, m := range mdHeading.FindAllStringSubmatch(page, -1) {
		text := notAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(m[1])), "")
		out[strings.ReplaceAll(text, " ", "-")] = true
	}
	return out
}
