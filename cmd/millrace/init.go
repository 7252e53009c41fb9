package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"millrace/examples"
)

const initHelp = `Write a program of your own: a job that counts clicks exactly once, with its test, a
Makefile and a README. It builds and runs as it is, with a broker of its own or, with
--brokers, on any Kafka cluster; then make it yours.

Nothing is overwritten: if one of the files exists, none is written.

Millrace is not published where "go get" would find it. The program is built from a
checkout of Millrace, and its go.mod has a line with the path: the checkout around the
current directory or around this binary, or the one of --source.`

const initExample = `  millrace init myclicks                  # then: cd myclicks && make test && make run
  millrace init . --module example.com/myclicks
  millrace init myclicks --source ~/src/millrace -o json`

// skeleton is what is to be written.
type skeleton struct {
	dir    string // absolute
	module string
	source string // the checkout of Millrace, absolute
}

func (a *app) initCommand() *cobra.Command {
	var (
		s   skeleton
		out output
	)
	cmd := &cobra.Command{
		Use:     "init [DIR]",
		Short:   "Write a program of your own: a job with test and Makefile",
		Long:    initHelp,
		Example: initExample,
		Args:    takesAtMost("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			if s.dir = "."; len(args) > 0 {
				s.dir = args[0]
			}
			return a.init(s, out)
		},
	}
	cmd.Flags().StringVar(&s.module, "module", "", "name of the program's Go module (default: that of DIR)")
	cmd.Flags().StringVar(&s.source, "source", "", "checkout of Millrace to build the program from (default: the one around the current directory or this binary)")
	out.register(cmd)
	return cmd
}

func (a *app) init(s skeleton, out output) error {
	if _, err := out.resolve(a.stdout); err != nil {
		return err
	}
	if err := s.complete(); err != nil {
		return err
	}
	files, err := s.files()
	if err != nil {
		return err
	}
	if err := s.write(files); err != nil {
		return err
	}
	next := []string{"cd " + s.dir, "make test", "make run"}
	a.say("wrote the module %s in %s, built from Millrace in %s (go.mod has the path)", s.module, s.dir, s.source)
	a.say("next: %s", strings.Join(next, " && "))
	rows := make([]row, len(files))
	for i, f := range files {
		path := filepath.Join(s.dir, f.name)
		rows[i] = row{cells: []string{path, f.what}, value: struct {
			File   string `json:"file"`
			What   string `json:"what"`
			Module string `json:"module"`
			Source string `json:"source"`
		}{path, f.what, s.module, s.source}}
	}
	return a.print(out, []string{"FILE", "WHAT"}, rows)
}

// modulePath is what Go takes as the path of a module, as far as it matters here.
var modulePath = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._~-]*(/[A-Za-z0-9_][A-Za-z0-9._~-]*)*$`)

// complete fills in what was left out.
func (s *skeleton) complete() (err error) {
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return usage("name a directory", "%s", err)
	}
	s.module = cmp.Or(s.module, filepath.Base(s.dir))
	if !modulePath.MatchString(s.module) || s.module == "millrace" {
		return usage("name the module with --module, such as --module example.com/myclicks", "%q cannot be the name of a Go module here", s.module)
	}
	if s.source != "" {
		if s.source, err = filepath.Abs(s.source); err != nil || !isCheckout(s.source) {
			return noCheckout("--source " + s.source + " is no checkout of Millrace")
		}
		return nil
	}
	here, err := os.Getwd()
	if s.source = checkoutAbove(here); err == nil && s.source != "" {
		return nil
	}
	binary, err := os.Executable()
	if s.source = checkoutAbove(filepath.Dir(binary)); err == nil && s.source != "" {
		return nil
	}
	return noCheckout("there is no checkout of Millrace around the current directory or this binary")
}

func noCheckout(what string) error {
	return &fault{code: "E1802", exit: exitNotFound, what: what,
		fix: "name one with --source DIR: the directory that has Millrace's go.mod; the program is built from it"}
}

// checkoutAbove is the checkout of Millrace that dir is in; empty if there is none.
func checkoutAbove(dir string) string {
	for !isCheckout(dir) {
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
	return dir
}

func isCheckout(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && strings.HasPrefix(string(text), "module millrace\n")
}

// skeletonFile is one file of the program.
type skeletonFile struct{ name, what, text string }

// files are the example, and a go.mod that builds it from the checkout.
func (s *skeleton) files() ([]skeletonFile, error) {
	mod, err := os.ReadFile(filepath.Join(s.source, "go.mod"))
	if err != nil {
		return nil, noCheckout(err.Error())
	}
	sum, err := os.ReadFile(filepath.Join(s.source, "go.sum"))
	if err != nil {
		return nil, noCheckout(err.Error())
	}
	files := []skeletonFile{
		{"main.go", "the job", ""},
		{"main_test.go", "its test, in memory", ""},
		{"Makefile", "make run, make test, make plan", ""},
		{"README.md", "how to run it", ""},
	}
	for i := range files {
		text, err := fs.ReadFile(examples.ClickCount, "clickcount/"+files[i].name)
		if err != nil {
			return nil, err
		}
		files[i].text = string(text)
	}
	return append(files,
		skeletonFile{"go.mod", "the module, with the path of Millrace", s.goMod(string(mod))},
		skeletonFile{"go.sum", "checksums of what Millrace needs", string(sum)},
		skeletonFile{".gitignore", "data and state stay out of git", "/millrace-data/\n"},
	), nil
}

// goMod is the program's go.mod: Millrace's own requirements, all of them known
// to its go.sum, so that nothing has to be looked up.
func (s *skeleton) goMod(millrace string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "module %s\n", s.module)
	inRequire := false
	for line := range strings.Lines(millrace) {
		switch text := strings.TrimSpace(line); {
		case strings.HasPrefix(text, "go "), strings.HasPrefix(text, "toolchain "):
			fmt.Fprintf(&b, "\n%s\n", text)
		case text == "require (":
			inRequire = true
			b.WriteString("\nrequire (\n")
		case inRequire && text == ")":
			inRequire = false
			b.WriteString(")\n")
		case inRequire && text != "":
			need, _, _ := strings.Cut(text, " //")
			fmt.Fprintf(&b, "\t%s // indirect\n", need)
		}
	}
	fmt.Fprintf(&b, "\nrequire millrace v0.0.0\n\n"+
		"// Millrace is not published where go get would find it: this program is built\n"+
		"// from a checkout. Correct the path where it lies elsewhere.\n"+
		"replace millrace => %s\n", quotedPath(s.source))
	return b.String()
}

// quotedPath is a path as go.mod takes it.
func quotedPath(path string) string {
	if strings.ContainsAny(path, " \t()[]{},\"'`") {
		return `"` + path + `"`
	}
	return path
}

// write writes all files or, if one exists, none.
func (s *skeleton) write(files []skeletonFile) error {
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(s.dir, f.name)); err == nil {
			return &fault{code: "E1801", exit: exitFailed, what: fmt.Sprintf("%s exists already: nothing was written", filepath.Join(s.dir, f.name)),
				fix: "choose another directory, or move the file away"}
		}
	}
	err := os.MkdirAll(s.dir, 0o755)
	for _, f := range files {
		if err == nil {
			err = writeNew(filepath.Join(s.dir, f.name), f.text)
		}
	}
	if err != nil {
		return &fault{code: "E1803", exit: exitFailed, what: fmt.Sprintf("the program cannot be written: %s", err), fix: "choose a directory that this user may write"}
	}
	return nil
}

func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
