package log

import (
	"testing"
)

func TestAppendedRecordsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, Options{})
	l := create(t, s, Config{})
	fill(t, l, 1000, 7)
	if got := readAll(t, l, 0); got != int(l.NextOffset()) {
		t.Fatalf("read %d of %d records", got, l.NextOffset())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openDir(t, dir, Options{})
	if !s.Report().Clean {
		t.Error("a clean stop is not recognised")
	}
	l, _ = s.Log(tp0)
	if got := readAll(t, l, 0); got != 1001 {
		t.Fatalf("read %d of 1001 records after a restart", got)
	}
	fill(t, l, 2000, 7)
	if got := readAll(t, l, 0); got != int(l.NextOffset()) {
		t.Fatalf("read %d of %d records", got, l.NextOffset())
	}
}
