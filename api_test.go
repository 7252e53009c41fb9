package millrace_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// withoutExample are the exported functions and methods of the DSL that have no
// example, and why.
var withoutExample = map[string]string{
	"millrace.Brokers":          "needs a cluster; docs/kafka.md",
	"millrace.ClientProperty":   "needs a cluster; docs/kafka.md",
	"millrace.InstanceID":       "needs a cluster; docs/kafka.md",
	"millrace.Endpoint":         "needs several instances; docs/kafka.md",
	"millrace.StateDir":         "a directory; docs/state.md",
	"millrace.Metrics":          "takes a registerer as everything else does",
	"millrace.Flags":            "examples/wordcount is its example",
	"millrace.App.Main":         "ends the process; examples/clickcount is its example",
	"millrace.Embedded":         "App.Run is its example",
	"millrace.Listen":           "App.Run is its example",
	"millrace.CommitInterval":   "App.Run is its example",
	"millrace.Memory":           "App.Run is its example",
	"millrace.Logger":           "App.Run is its example",
	"millrace.OnReady":          "App.Run is its example",
	"millrace.Topology.Attach":  "for the rooms of this module",
	"millrace.Topology.Plan":    "for the rooms of this module",
	"millrace.AwayError.Error":  "an error's text",
	"millrace.AwayError.Unwrap": "an error's reason",
}

// TestEveryOperatorHasAnExample reads the packages of the DSL as go doc does.
func TestEveryOperatorHasAnExample(t *testing.T) {
	excused := make(map[string]bool)
	for _, dir := range []string{".", "agg", "window", "codec", "record", "millracetest"} {
		p := documented(t, dir)
		check := func(name string, examples []*doc.Example) {
			name = p.Name + "." + name
			switch reason, isExcused := withoutExample[name]; {
			case isExcused:
				excused[name] = true
				if reason == "" || len(examples) > 0 {
					t.Errorf("%s is excused without a reason, or has an example all the same", name)
				}
			case len(examples) == 0:
				t.Errorf("%s has no example", name)
			case examples[0].Output == "" && !examples[0].EmptyOutput:
				t.Errorf("the example of %s is not run: it has no output", name)
			}
		}
		for _, f := range p.Funcs {
			check(f.Name, f.Examples)
		}
		for _, typ := range p.Types {
			for _, f := range typ.Funcs {
				check(f.Name, f.Examples)
			}
			for _, m := range typ.Methods {
				check(typ.Name+"."+m.Name, m.Examples)
			}
		}
	}
	for name := range withoutExample {
		if !excused[name] {
			t.Errorf("%s is excused, and does not exist", name)
		}
	}
}

func documented(t *testing.T, dir string) *doc.Package {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(fset, files, filepath.Join("millrace", dir))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
