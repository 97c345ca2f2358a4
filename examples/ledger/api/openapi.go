package api

import (
	_ "embed"
	"fmt"
	"net/http"

	"github.com/goccy/go-yaml"
)

//go:embed openapi.yaml
var openAPI []byte

// document returns the OpenAPI document as YAML and as JSON.
func document() (asYAML, asJSON []byte, err error) {
	asJSON, err = yaml.YAMLToJSON(openAPI)
	if err != nil {
		return nil, nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	return openAPI, asJSON, nil
}

func (a *API) openAPIYAML(w http.ResponseWriter, _ *http.Request) error {
	return serveDocument(w, "application/yaml", a.yaml)
}

func (a *API) openAPIJSON(w http.ResponseWriter, _ *http.Request) error {
	return serveDocument(w, "application/json", a.json)
}

func serveDocument(w http.ResponseWriter, contentType string, text []byte) error {
	w.Header().Set("Content-Type", contentType)
	_, err := w.Write(text)
	if err != nil {
		return nil //nolint:nilerr // the client is gone
	}
	return nil
}
