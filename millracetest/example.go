package millracetest

import (
	"fmt"
	"testing"
)

// Panics is what an Example function, which has no test, gives to [New]: what
// would end a test panics.
func Panics() testing.TB { return panics{} }

// panics has of a testing.TB what a [Driver] uses.
type panics struct{ testing.TB }

func (panics) Helper() {}

func (panics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
