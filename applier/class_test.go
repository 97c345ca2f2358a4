package applier

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every transaction that can't be applied has a code, whoever found it out.
func TestCodes(t *testing.T) {
	own := errors.New("the handler's own")
	for _, c := range []struct {
		err  error
		want Fault
	}{
		{own, Fault{Class: ClassData, Code: CodeHandler}},
		{WithClass(ClassBackOff, own), Fault{Class: ClassBackOff, Code: CodeHandler}},
		{WithClass(ClassBackOff, errMemory), Fault{Class: ClassBackOff, Code: "memory"}},
		{errMemory, Fault{Class: ClassData, Code: "memory"}},
		{&itemError{CodeDecode, own}, Fault{Class: ClassData, Code: CodeDecode}},
		{&itemError{CodeNoHandler, own}, Fault{Class: ClassData, Code: CodeNoHandler}},
		{&PanicError{Value: 1}, Fault{Class: ClassData, Code: CodePanic}},
		{&EscapeError{}, Fault{Class: ClassBug, Code: CodeEscape}},
		{context.Canceled, Fault{Class: ClassBackOff, Code: CodeContext}},
	} {
		require.Equal(t, c.want, fault(fmt.Errorf("wrapped: %w", c.err), (&memory{}).Fault).ofHandler(), "%v", c.err)
	}
	require.Empty(t, fault(own, (&memory{}).Fault).Code, "what comes from elsewhere is not the handler's")
}
