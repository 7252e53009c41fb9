package millrace_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the compiler says into testdata/compile")

// TestWrongWiringDoesNotCompile checks each wrong program of testdata/compile:
// one or more statements, then what the compiler says of them. The first one,
// ok.txt, is right, so that the test knows its own frame.
func TestWrongWiringDoesNotCompile(t *testing.T) {
	exports := exportData(t)
	files, err := filepath.Glob("testdata/compile/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d wrong programs, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			statements, want, _ := strings.Cut(string(text), "----\n")
			got := typeCheck(t, exports, statements)
			if *rewrite {
				if err := os.WriteFile(file, []byte(statements+"----\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("the compiler says:\n%s\nnot:\n%s", got, want)
			}
			if isOK := filepath.Base(file) == "ok.txt"; isOK != (got == "") {
				t.Errorf("compiles: %v", got == "")
			}
		})
	}
}

// frame is the program around the statements, in which they are lines 1, 2, ….
const frame = `package main

import (
	"errors"
	"time"

	"millrace"
	"millrace/agg"
	"millrace/codec"
	"millrace/window"
)

type Click struct{ User, Page string; Cents int64 }

func user(c Click) string  { return c.User }
func page(c Click) string  { return c.Page }
func cents(c Click) int64  { return c.Cents }
func parse(b []byte) (Click, error) { return Click{}, errors.New("no") }

var (
	raw     = millrace.NewTopic("raw", codec.Bytes, codec.Bytes)
	clicks  = millrace.NewTopic("clicks", codec.String, codec.JSON[Click]())
	totals  = millrace.NewTopic("totals", codec.String, codec.Int64)
	names   = millrace.NewTopic("names", codec.String, codec.String)
	minutes = millrace.NewTopic("minutes", millrace.WinKey(codec.String, time.Minute), agg.PairOf(codec.Int64, codec.Int64))
	_ = window.Tumbling
)

func main() {
	app := millrace.New("app")
	_ = app
//line wrong.go:1
`

func typeCheck(t *testing.T, exports map[string]string, statements string) string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "frame.go", frame+statements+"}\n", parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	config := types.Config{
		Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }),
		Error: func(err error) {
			var e types.Error
			if errors.As(err, &e) {
				fmt.Fprintf(&said, "%d: %s\n", e.Fset.Position(e.Pos).Line, e.Msg)
			}
		},
	}
	_, _ = config.Check("main", fset, []*ast.File{file}, nil) // Error hears of everything
	return said.String()
}

// exportData are the files with what the compiler knows of each package.
func exportData(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", ".", "./agg", "./codec", "./window", "errors", "time").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	exports := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		exports[path] = file
	}
	return exports
}

// What docs/wiring.md says that the compiler says, it says.
func TestWiringDocsAreTheCompilersWords(t *testing.T) {
	doc, err := os.ReadFile("docs/wiring.md")
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	files, err := filepath.Glob("testdata/compile/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said.WriteString(strings.ReplaceAll(string(text), "\t", "  "))
	}
	quoted := 0
	for line := range strings.Lines(string(doc)) {
		if code, isCode := strings.CutPrefix(line, "    "); isCode {
			quoted++
			if !strings.Contains(said.String(), code) {
				t.Errorf("no wrong program, nor what is said of one: %s", code)
			}
		}
	}
	if quoted < 10 {
		t.Errorf("%d lines are quoted", quoted)
	}
}
