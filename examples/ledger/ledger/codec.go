package ledger

import (
	"encoding/json"
	"fmt"
)

// Codec is the entries' JSON. Decode refuses what is not a valid entry.
type Codec struct{}

// Encode writes e.
func (Codec) Encode(e Entry) ([]byte, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}

// Decode reads data into e.
func (Codec) Decode(data []byte, e *Entry) error {
	*e = Entry{}
	if err := json.Unmarshal(data, e); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return e.validate()
}
