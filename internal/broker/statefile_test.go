package broker

import (
	"errors"
	"io/fs"
	"testing"

	"millrace/internal/vfs/crashfs"
)

func TestStateFileRoundTrip(t *testing.T) {
	fsys := crashfs.New()
	if err := fsys.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	want := topicFile{ID: "x", Partitions: 3, Config: map[string]string{"retention.ms": "7", "a": "line\nbreak"}}
	if err := writeStateFiles(fsys, "d", stateFile{"one", want}); err != nil {
		t.Fatal(err)
	}
	var got topicFile
	if err := readStateFile(fsys, "d", "one", &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != want.ID || got.Partitions != 3 || got.Config["a"] != "line\nbreak" {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := readStateFile(fsys, "d", "two", &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// Each flipped bit and each cut of a state file is noticed: a setting never
// changes by rot (reliability fault 8).
func TestStateFileNoticesAllDamage(t *testing.T) {
	good, err := encodeState(topicFile{ID: newTopicID().String(), Partitions: 12, Config: map[string]string{"retention.ms": "604800000"}})
	if err != nil {
		t.Fatal(err)
	}
	var f topicFile
	if err := decodeState(good, &f); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(good) {
		bad := append([]byte(nil), good...)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := decodeState(bad, &f); !errors.Is(err, errDamaged) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
	}
	for n := range len(good) {
		if err := decodeState(good[:n], &f); !errors.Is(err, errDamaged) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if err := decodeState(append(good, 'x'), &f); !errors.Is(err, errDamaged) {
		t.Errorf("a byte behind the end: %v", err)
	}
}
