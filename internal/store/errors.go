package store

import (
	"errors"
	"fmt"

	"millrace/record"
)

// ErrInUse means that another process holds the directory.
var ErrInUse = errors.New("the state directory is in use by another process")

// FormatError says that a directory was written by a version of Millrace that
// this one does not know.
type FormatError struct {
	Dir   string
	Found int
	Known int
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("state directory %s has format version %d, this program knows versions up to %d: "+
		"run the newer program, or move the directory away and the state is rebuilt from the changelog topics", e.Dir, e.Found, e.Known)
}

// DamageError says that the entries of one store and partition cannot be read
// back. [Part.Clear] and a replay of its changelog mend it.
type DamageError struct {
	Store     string
	Partition record.Partition
	Err       error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("state %q partition %d is damaged on disk: %v", e.Store, e.Partition, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }
