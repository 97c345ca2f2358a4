package api_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// openAPI is the document, and which parts of it were met.
type openAPI struct {
	root map[string]any
	met  map[string]bool // JSON pointers to operations' answers, and to properties
}

func parseDocument(t testing.TB, text []byte) *openAPI {
	d := &openAPI{met: map[string]bool{}}
	require.NoError(t, json.Unmarshal(text, &d.root))
	return d
}

// at follows a JSON pointer of the document itself: #/a/b.
func (d *openAPI) at(pointer string) any {
	var v any = d.root
	for _, name := range strings.Split(strings.TrimPrefix(pointer, "#/"), "/") {
		m, is := v.(map[string]any)
		if !is {
			return nil
		}
		v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
	}
	return v
}

// resolve follows references, and returns where that leads.
func (d *openAPI) resolve(pointer string) (string, map[string]any) {
	for {
		m, _ := d.at(pointer).(map[string]any)
		ref, is := m["$ref"].(string)
		if !is {
			return pointer, m
		}
		pointer = ref
	}
}

func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// validate checks a value, as json.Decoder gives it with UseNumber, against the schema
// at pointer. It knows the keywords that the document uses, and no other.
func (d *openAPI) validate(pointer string, value any) error {
	pointer, schema := d.resolve(pointer)
	if schema == nil {
		return fmt.Errorf("there is no schema at %s", pointer)
	}
	for keyword, rule := range schema {
		if err := d.keyword(pointer, keyword, rule, schema, value); err != nil {
			return fmt.Errorf("%s %s: %w", pointer, keyword, err)
		}
	}
	return nil
}

func (d *openAPI) keyword(pointer, keyword string, rule any, schema map[string]any, value any) error {
	object, isObject := value.(map[string]any)
	list, isList := value.([]any)
	text, isText := value.(string)
	n, isNumber := new(big.Rat), false
	if number, is := value.(json.Number); is {
		_, isNumber = n.SetString(number.String())
	}
	bad := false
	switch keyword {
	case "description", "default", "format":
	case "type":
		bad = !map[string]bool{"object": isObject, "array": isList, "string": isText, "integer": isNumber && n.IsInt(), "boolean": false}[rule.(string)]
	case "enum":
		bad = !slices.Contains(rule.([]any), value)
	case "pattern":
		bad = isText && !regexp.MustCompile(rule.(string)).MatchString(text)
	case "minLength":
		bad = isText && float64(len(text)) < rule.(float64)
	case "maxLength":
		bad = isText && float64(len(text)) > rule.(float64)
	case "minimum":
		bad = isNumber && n.Cmp(new(big.Rat).SetFloat64(rule.(float64))) < 0
	case "maximum":
		bad = isNumber && n.Cmp(new(big.Rat).SetFloat64(rule.(float64))) > 0
	case "minItems":
		bad = isList && float64(len(list)) < rule.(float64)
	case "maxItems":
		bad = isList && float64(len(list)) > rule.(float64)
	case "required":
		for _, name := range rule.([]any) {
			if _, there := object[name.(string)]; isObject && !there {
				return fmt.Errorf("%s is missing in %v", name, value)
			}
		}
	case "properties":
		for name := range rule.(map[string]any) {
			at := pointer + "/properties/" + escape(name)
			if v, there := object[name]; there {
				d.met[at] = true
				if err := d.validate(at, v); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		properties, _ := schema["properties"].(map[string]any)
		for name, v := range object {
			if _, known := properties[name]; known {
				continue
			}
			if rule == false {
				return fmt.Errorf("%s is not in the schema", name)
			}
			if err := d.validate(pointer+"/additionalProperties", v); err != nil {
				return err
			}
		}
	case "items":
		for _, v := range list {
			if err := d.validate(pointer+"/items", v); err != nil {
				return err
			}
		}
	case "allOf":
		for i, s := range rule.([]any) {
			part := s.(map[string]any)
			if ref, is := part["$ref"].(string); is {
				if err := d.validate(ref, value); err != nil {
					return err
				}
				continue
			}
			for k, r := range part {
				if err := d.keyword(fmt.Sprintf("%s/allOf/%d", pointer, i), k, r, part, value); err != nil {
					return err
				}
			}
		}
	default:
		return fmt.Errorf("the checker does not know this keyword")
	}
	if bad {
		return fmt.Errorf("%v is not %v", value, rule)
	}
	return nil
}

// operations lists what the document has, as "GET /path".
func (d *openAPI) operations() (all []string) {
	for path, item := range d.root["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// operation returns where the document describes a request.
func (d *openAPI) operation(method, path string) string {
	for _, op := range d.operations() {
		m, template, _ := strings.Cut(op, " ")
		pattern := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), `[^/]+`)
		if m == method && regexp.MustCompile("^"+pattern+"$").MatchString(path) {
			return "#/paths/" + escape(template) + "/" + strings.ToLower(method)
		}
	}
	return ""
}

// unmet lists the documented answers and properties that nothing has shown.
func (d *openAPI) unmet() (all []string) {
	for _, op := range d.operations() {
		method, path, _ := strings.Cut(op, " ")
		at := "#/paths/" + escape(path) + "/" + strings.ToLower(method) + "/responses"
		for status := range d.at(at).(map[string]any) {
			all = append(all, at+"/"+status)
		}
	}
	for name, schema := range d.at("#/components/schemas").(map[string]any) {
		properties, _ := schema.(map[string]any)["properties"].(map[string]any)
		for property := range properties {
			all = append(all, "#/components/schemas/"+name+"/properties/"+property)
		}
	}
	all = slices.DeleteFunc(all, func(at string) bool { return d.met[at] })
	slices.Sort(all)
	return all
}
