package broker_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The records hold what Apache Kafka 4.3.1 answered to the written scripts, so
// that every run compares with it:
//
//	script NAME
//	step REQUEST
//	FIELD "VALUE"
const (
	plainRecord    = "testdata/conformance/kafka-4.3.1.gz"
	securityRecord = "testdata/conformance/kafka-4.3.1-security.gz"
)

// keepRecord replaces the record by what play answers now.
func keepRecord(t *testing.T, file string, scripts []script, play func(*testing.T, script) []step) {
	t.Helper()
	var text bytes.Buffer
	packed := gzip.NewWriter(&text)
	for _, s := range scripts {
		fmt.Fprintln(packed, "script", s.name)
		for _, step := range play(t, s) {
			fmt.Fprintln(packed, "step", step.request)
			for _, field := range slices.Sorted(maps.Keys(step.fields)) {
				fmt.Fprintln(packed, field, strconv.Quote(step.fields[field]))
			}
		}
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readRecord gives the recorded answers by script.
func readRecord(t *testing.T, file string) map[string][]step {
	t.Helper()
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]step{}
	name := ""
	lines := bufio.NewScanner(io.Reader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "script":
			name = rest
		case "step":
			all[name] = append(all[name], step{request: rest, fields: map[string]string{}})
		default:
			value, err := strconv.Unquote(rest)
			if err != nil {
				t.Fatalf("%s: %q: %v", file, lines.Text(), err)
			}
			all[name][len(all[name])-1].fields[word] = value
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
