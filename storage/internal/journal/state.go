package journal

import (
	"encoding/binary"

	"github.com/waltz-log/waltz/internal/record"
)

// A body of kind State or Damaged begins with the CRC-32C of its rest, so that it can be
// told whole inside a damaged group.
const stateHeader = 4

// StateBody returns a body of these kinds around its content.
func StateBody(content []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, stateHeader+len(content)), record.Checksum(content))
	return append(b, content...)
}

// StateContent returns what StateBody was given, and whether it is whole.
func StateContent(body []byte) ([]byte, bool) {
	if len(body) < stateHeader || binary.LittleEndian.Uint32(body) != record.Checksum(body[stateHeader:]) {
		return nil, false
	}
	return body[stateHeader:], true
}
