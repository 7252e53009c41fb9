package main

import (
	"bufio"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// output is how results are printed: -o.
type output struct{ format string }

const (
	asTable = "table"
	asJSON  = "json"
	asJSONL = "jsonl"
)

func (o *output) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "table, json or jsonl (default: table on a terminal, jsonl when piped)")
	complete(cmd, "output", asTable, asJSON, asJSONL)
}

// complete offers words for a flag's value.
func complete(cmd *cobra.Command, flag string, words ...string) {
	// The flag exists: each caller registers it first.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// resolve is the format to print in.
func (o output) resolve(w io.Writer) (string, error) {
	switch o.format {
	case asTable, asJSON, asJSONL:
		return o.format, nil
	case "":
		if isTerminal(w) {
			return asTable, nil
		}
		return asJSONL, nil
	}
	return "", usage("use -o table, json or jsonl", "-o is %q", o.format)
}

// row is one result: the cells of a table line, or one JSON value.
type row struct {
	cells []string
	value any
}

// print writes rows as a table under header, as one JSON array, or as JSON lines.
func (a *app) print(o output, header []string, rows []row) error {
	format, err := o.resolve(a.stdout)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.stdout)
	switch format {
	case asTable:
		printTable(out, header, rows)
	case asJSON:
		values := make([]any, len(rows))
		for i, r := range rows {
			values[i] = r.value
		}
		err = printJSON(out, values, jsontext.WithIndent("  "))
	default:
		for _, r := range rows {
			if err = printJSON(out, r.value); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// printOne writes a single result: as a table of one line, or as a JSON object.
func (a *app) printOne(o output, header []string, r row) error {
	if format, err := o.resolve(a.stdout); err != nil || format != asJSON {
		if err != nil {
			return err
		}
		return a.print(o, header, []row{r})
	}
	return printJSON(a.stdout, r.value, jsontext.WithIndent("  "))
}

func printTable(w io.Writer, header []string, rows []row) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(header, "\t"))
	for _, r := range rows {
		cells := make([]string, len(r.cells))
		for i, cell := range r.cells {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	_ = table.Flush() // w is a bufio.Writer: its own Flush reports errors
}

func printJSON(w io.Writer, value any, options ...json.Options) error {
	data, err := json.Marshal(value, append(options, json.Deterministic(true))...)
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

// printable replaces control characters, so that a user id cannot steer the
// terminal on which it is shown.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// say writes talk to stderr.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// colour is an escape sequence where colours are wanted: on a terminal and
// without NO_COLOR (https://no-color.org).
func (a *app) colour(w io.Writer, sequence string) string {
	if off, _ := a.getenv("NO_COLOR"); off != "" || !isTerminal(w) {
		return ""
	}
	return sequence
}

// bytesText is a size for people, in the units of `ls -h`.
func bytesText(n int64) string {
	if n < 0 {
		return "-"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	size, unit := float64(n), 0
	for size >= 1024 && unit < len(units)-1 {
		size /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}
