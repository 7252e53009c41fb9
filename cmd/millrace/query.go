package main

import (
	"bufio"
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/record"
)

const queryHelp = `Ask the click job of a running server: how often did one user click, or who clicked
most. Each answer holds, in its JSON form, the position (as_of) that it reflects.

--watch prints the answer again whenever it changes.`

const queryExample = `  millrace query ana
  millrace query --top 5
  millrace query --top 5 --by page -o json
  millrace query ana --watch`

type queryFlags struct {
	top    int
	by     string
	watch  bool
	http   string
	output output
}

func (a *app) queryCommand() *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use:     "query [USER]",
		Short:   "Ask how often users clicked",
		Long:    queryHelp,
		Example: queryExample,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := f.question(args)
			if err != nil {
				return err
			}
			return a.query(cmd.Context(), f, q)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.IntVar(&f.top, "top", 0, "the users, or pages, with the most clicks")
	flags.StringVar(&f.by, "by", "user", "with --top: user or page")
	flags.BoolVarP(&f.watch, "watch", "w", false, "print again when the answer changes, until Ctrl-C")
	flags.StringVar(&f.http, "http", "http://localhost:8080", "the server's HTTP address")
	complete(cmd, "by", "user", "page")
	f.output.register(cmd)
	return cmd
}

// question is one path of the query API and how its answer becomes rows.
type question struct {
	path   string
	header []string
	rows   func(answer []byte) ([]row, error)
	single bool
}

func (f queryFlags) question(args []string) (question, error) {
	switch {
	case len(args) > 1:
		return question{}, usage("ask for one user at a time, or for --top N", "query takes one user")
	case len(args) == 1 && f.top != 0:
		return question{}, usage("leave one away", "a user does not go with --top")
	case len(args) == 1:
		return question{
			path:   "/v1/counts/users/" + url.PathEscape(args[0]),
			header: []string{"USER", "CLICKS"}, rows: userRow, single: true,
		}, nil
	case f.top < 1:
		return question{}, usage("millrace query USER, or millrace query --top 10", "nothing was asked")
	case f.by == "user":
		return question{path: fmt.Sprintf("/v1/counts/users?limit=%d", f.top), header: []string{"USER", "CLICKS"}, rows: userRows}, nil
	case f.by == "page":
		return question{path: fmt.Sprintf("/v1/counts/pages?limit=%d", f.top), header: []string{"PAGE", "CLICKS"}, rows: pageRows}, nil
	}
	return question{}, usage("use --by user or --by page", "--by is %q", f.by)
}

// asOfJSON is the position beside every answer of the query API.
type asOfJSON struct {
	Offsets     map[string]record.Offset  `json:"offsets"`
	UpTo        map[string]*record.Offset `json:"up_to,omitempty"`
	Watermark   *time.Time                `json:"watermark"`
	CommittedAt time.Time                 `json:"committed_at"`
}

type userLine struct {
	UserID string    `json:"user_id"`
	Clicks int64     `json:"clicks"`
	AsOf   *asOfJSON `json:"as_of,omitempty"`
}

type pageLine struct {
	Page   string    `json:"page"`
	Clicks int64     `json:"clicks"`
	AsOf   *asOfJSON `json:"as_of,omitempty"`
}

func (l userLine) row() row { return row{cells: []string{l.UserID, fmt.Sprint(l.Clicks)}, value: l} }
func (l pageLine) row() row { return row{cells: []string{l.Page, fmt.Sprint(l.Clicks)}, value: l} }

func userRow(answer []byte) ([]row, error) {
	var l userLine
	err := json.Unmarshal(answer, &l)
	return []row{l.row()}, err
}

func userRows(answer []byte) ([]row, error) {
	var list struct {
		Users []userLine `json:"users"`
		AsOf  *asOfJSON  `json:"as_of"`
	}
	err := json.Unmarshal(answer, &list)
	rows := make([]row, len(list.Users))
	for i, l := range list.Users {
		l.AsOf = list.AsOf
		rows[i] = l.row()
	}
	return rows, err
}

func pageRows(answer []byte) ([]row, error) {
	var list struct {
		Pages []pageLine `json:"pages"`
		AsOf  *asOfJSON  `json:"as_of"`
	}
	err := json.Unmarshal(answer, &list)
	rows := make([]row, len(list.Pages))
	for i, l := range list.Pages {
		l.AsOf = list.AsOf
		rows[i] = l.row()
	}
	return rows, err
}

func (a *app) query(ctx context.Context, f queryFlags, q question) error {
	if !f.watch {
		rows, err := ask(ctx, f.http, q)
		if err != nil {
			return err
		}
		return a.printAnswer(f.output, q, rows)
	}
	last := ""
	return follow(ctx, f.http, func() error {
		rows, err := ask(ctx, f.http, q)
		if err != nil {
			return err
		}
		cells := ""
		for _, r := range rows {
			cells += strings.Join(r.cells, "\t") + "\n"
		}
		if cells == last {
			return nil
		}
		last = cells
		return a.printAnswer(f.output, q, rows)
	})
}

func (a *app) printAnswer(o output, q question, rows []row) error {
	if q.single {
		return a.printOne(o, q.header, rows[0])
	}
	return a.print(o, q.header, rows)
}

// askWithin bounds one question.
const askWithin = 10 * time.Second

func ask(ctx context.Context, base string, q question) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	response, err := get(ctx, base, q.path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", base, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, answerFault(base, response.StatusCode, body)
	}
	rows, err := q.rows(body)
	if err != nil {
		return nil, &fault{code: "E1503", exit: exitFailed, err: err, what: fmt.Sprintf("%s does not answer like Millrace: %s", base, err), fix: "check --http"}
	}
	return rows, nil
}

func get(ctx context.Context, base, path string) (*http.Response, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return nil, usage("use --http http://HOST:PORT", "--http %s: %s", base, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, unreachableHTTP(ctx, base, err)
	}
	return response, nil
}

func unreachableHTTP(ctx context.Context, base string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return &fault{code: "E1504", exit: exitUnreachable, err: err, what: fmt.Sprintf("no server could be reached at %s: %s", base, err), fix: "start one with `millrace serve`, or name yours with --http http://HOST:PORT"}
}

// answerFault passes on what the server said, in its words and with its code.
func answerFault(base string, status int, body []byte) error {
	var p struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
		Fix    string `json:"fix"`
	}
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return &fault{code: "E1503", exit: exitFailed, what: fmt.Sprintf("%s answered with status %d, which is not like Millrace", base, status), fix: "check --http"}
	}
	exit := exitFailed
	switch status {
	case http.StatusNotFound:
		exit = exitNotFound
	case http.StatusBadRequest:
		exit = exitUsage
	case http.StatusMisdirectedRequest, http.StatusForbidden, http.StatusUnauthorized:
		exit = exitRefused
	}
	return &fault{code: p.Code, exit: exit, what: p.Detail, fix: p.Fix}
}

// follow calls changed once per snapshot of the server's event stream, until ctx
// ends. When the stream breaks it is opened again.
func follow(ctx context.Context, base string, changed func() error) error {
	for {
		err := followOnce(ctx, base, changed)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}

func followOnce(ctx context.Context, base string, changed func() error) error {
	response, err := get(ctx, base, "/v1/live")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // what came of it has to do
		return answerFault(base, response.StatusCode, body)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			if err := changed(); err != nil {
				return err
			}
		}
	}
	return nil // the stream broke: follow opens it again
}
