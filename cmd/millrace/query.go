package main

import (
	"bufio"
	"cmp"
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

A click is counted a moment after it was acknowledged, so a user that is not there
yet is asked for again for a second. Where several instances run and one cannot be
reached, an answer lacks its part: it says so, in its JSON form as "partial".

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
	read   func(body []byte) (answer, error)
	single bool
}

// answer is what came of a question, and what it lacks.
type answer struct {
	rows    []row
	missing missingJSON
}

func (f queryFlags) question(args []string) (question, error) {
	switch {
	case f.by != "user" && f.by != "page":
		return question{}, usage("use --by user or --by page", "--by is %q", f.by)
	case f.by != "user" && f.top == 0:
		return question{}, usage("millrace query --top 10 --by "+f.by, "--by goes with --top only")
	case len(args) > 1:
		return question{}, usage("ask for one user at a time, or for --top N", "query takes one user")
	case len(args) == 1 && f.top != 0:
		return question{}, usage("leave one away", "a user does not go with --top")
	case len(args) == 1 && args[0] == "":
		return question{}, usage("name a user, or ask for --top 10", "the user is empty, and such clicks are malformed")
	case len(args) == 1:
		return question{
			path:   "/v1/counts/users/" + pathOf(args[0]),
			header: []string{"USER", "CLICKS"}, read: func(body []byte) (answer, error) { return oneUser(args[0], body) }, single: true,
		}, nil
	case f.top < 1:
		return question{}, usage("millrace query USER, or millrace query --top 10", "nothing was asked")
	case f.by == "user":
		return question{path: fmt.Sprintf("/v1/counts/users?limit=%d", f.top), header: []string{"USER", "CLICKS"}, read: topUsers}, nil
	}
	return question{path: fmt.Sprintf("/v1/counts/pages?limit=%d", f.top), header: []string{"PAGE", "CLICKS"}, read: topPages}, nil
}

// pathOf is a user as a segment of a path. The users . and .. are escaped, too:
// bare they would be taken for steps in the path.
func pathOf(user string) string {
	if user == "." || user == ".." {
		return strings.ReplaceAll(user, ".", "%2E")
	}
	return url.PathEscape(user)
}

// asOfJSON is the position beside every answer of the query API.
type asOfJSON struct {
	Offsets     map[string]record.Offset  `json:"offsets"`
	UpTo        map[string]*record.Offset `json:"up_to,omitempty"`
	Watermark   *time.Time                `json:"watermark"`
	CommittedAt *time.Time                `json:"committed_at"`
}

// missingJSON says what an answer lacks; it is empty when nothing is missing.
type missingJSON struct {
	Partial          bool `json:"partial,omitzero"`
	MissingInstances []struct {
		Instance string `json:"instance"`
		Endpoint string `json:"endpoint"`
		Reason   string `json:"reason"`
	} `json:"missing_instances,omitempty"`
	MissingTasks []record.Partition `json:"missing_tasks,omitempty"`
}

func (m missingJSON) String() string {
	var all []string
	for _, i := range m.MissingInstances {
		all = append(all, fmt.Sprintf("instance %s at %s: %s", i.Instance, cmp.Or(i.Endpoint, "an unknown address"), i.Reason))
	}
	if len(m.MissingTasks) > 0 {
		all = append(all, fmt.Sprintf("tasks %v", m.MissingTasks))
	}
	return strings.Join(all, "; ")
}

type userLine struct {
	UserID string    `json:"user_id"`
	Clicks int64     `json:"clicks"`
	AsOf   *asOfJSON `json:"as_of,omitempty"`
	missingJSON
}

type pageLine struct {
	Page   string    `json:"page"`
	Clicks int64     `json:"clicks"`
	AsOf   *asOfJSON `json:"as_of,omitempty"`
	missingJSON
}

func (l userLine) row() row { return row{cells: []string{l.UserID, fmt.Sprint(l.Clicks)}, value: l} }
func (l pageLine) row() row { return row{cells: []string{l.Page, fmt.Sprint(l.Clicks)}, value: l} }

func oneUser(user string, body []byte) (answer, error) {
	var l userLine
	err := json.Unmarshal(body, &l)
	if err == nil && l.UserID != user {
		err = fmt.Errorf("asked for user %q, it tells of %q", user, l.UserID)
	}
	return answer{[]row{l.row()}, l.missingJSON}, err
}

func topUsers(body []byte) (answer, error) {
	var list struct {
		Users []userLine `json:"users"`
		AsOf  *asOfJSON  `json:"as_of"`
		missingJSON
	}
	err := json.Unmarshal(body, &list)
	rows := make([]row, len(list.Users))
	for i, l := range list.Users {
		l.AsOf, l.missingJSON = list.AsOf, list.missingJSON
		rows[i] = l.row()
	}
	return answer{rows, list.missingJSON}, err
}

func topPages(body []byte) (answer, error) {
	var list struct {
		Pages []pageLine `json:"pages"`
		AsOf  *asOfJSON  `json:"as_of"`
		missingJSON
	}
	err := json.Unmarshal(body, &list)
	rows := make([]row, len(list.Pages))
	for i, l := range list.Pages {
		l.AsOf, l.missingJSON = list.AsOf, list.missingJSON
		rows[i] = l.row()
	}
	return answer{rows, list.missingJSON}, err
}

func (a *app) query(ctx context.Context, f queryFlags, q question) error {
	if !f.watch {
		got, err := askPatiently(ctx, f.http, q)
		if err != nil {
			return err
		}
		return a.printAnswer(f.output, q, got)
	}
	last := ""
	return follow(ctx, f.http, func() error {
		got, err := ask(ctx, f.http, q)
		text := got.text()
		if isUnknownUser(err) {
			text, err = err.Error(), nil
		}
		if err != nil || text == last {
			return err
		}
		last = text
		if got.rows == nil && q.single {
			a.say("%s yet: waiting for the first", text)
			return nil
		}
		return a.printAnswer(f.output, q, got)
	})
}

// text is equal for answers that say the same.
func (g answer) text() string {
	var b strings.Builder
	for _, r := range g.rows {
		b.WriteString(strings.Join(r.cells, "\t") + "\n")
	}
	return b.String() + g.missing.String()
}

func (a *app) printAnswer(o output, q question, got answer) error {
	if got.missing.Partial {
		a.say("this answer is partial, and counts can be too low: what %s would add is missing", cmp.Or(got.missing.String(), "other instances"))
	}
	if q.single {
		return a.printOne(o, q.header, got.rows[0])
	}
	return a.print(o, q.header, got.rows)
}

// A user who was never seen may have clicked just now: that is counted within a
// commit interval or two. So the question is put again, so often and so far apart.
const (
	askAgain      = 10
	askAgainAfter = 100 * time.Millisecond
)

// askPatiently is ask, and again while the user is not there yet.
func askPatiently(ctx context.Context, base string, q question) (got answer, err error) {
	for range askAgain {
		if got, err = ask(ctx, base, q); !isUnknownUser(err) || !sleep(ctx, askAgainAfter) {
			break
		}
	}
	return got, err
}

func isUnknownUser(err error) bool {
	f, ok := errors.AsType[*fault](err)
	return ok && f.code == "E1301"
}

// askWithin bounds one question.
const askWithin = 10 * time.Second

func ask(ctx context.Context, base string, q question) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	response, err := get(ctx, base, q.path)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer of %s: %w", base, err)
	}
	if response.StatusCode != http.StatusOK {
		return answer{}, answerFault(base, response.StatusCode, body)
	}
	got, err := q.read(body)
	if err != nil {
		return answer{}, &fault{code: "E1503", exit: exitFailed, err: err, what: fmt.Sprintf("%s does not answer like Millrace: %s", base, err), fix: "check --http"}
	}
	return got, nil
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
