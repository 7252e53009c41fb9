package txntest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/history"
	"millrace/compat/target"
)

// ConfluentPackage is the binding of librdkafka that is installed.
const ConfluentPackage = "confluent-kafka==2.16.1"

// process is a producer in a program of its own, which is asked line by line:
// clients/README.md, "The transactional programs".
type process struct {
	cmd     *exec.Cmd
	ask     io.WriteCloser
	answers *bufio.Scanner
}

// command is one line to the program, and answer the line that comes back.
type (
	command struct {
		Op      string          `json:"op"`
		Records []commandRecord `json:"records,omitempty"`
		Group   string          `json:"group,omitempty"`
		Topic   string          `json:"topic,omitempty"`
		Index   int32           `json:"partition"`
		Offset  int64           `json:"offset"`
	}
	commandRecord struct {
		Topic string `json:"topic"`
		Index int32  `json:"partition"`
		Value string `json:"value"`
	}
	answer struct {
		Error   string  `json:"error"`
		Offsets []int64 `json:"offsets"`
	}
)

func openLibrdkafka(ctx context.Context, addr, id string, timeout time.Duration) (Producer, error) {
	python, err := foreign.Python("confluent-kafka", ConfluentPackage)
	if err != nil {
		return nil, err
	}
	return openProcess(ctx, python, foreign.Source("clients", "python", "confluent_txn.py"),
		addr, id, fmt.Sprint(timeout.Milliseconds()))
}

// KafkaJS is kafkajs, which is left out of the kill test: it gives up on a
// transaction whose connection breaks, and is not maintained.
func KafkaJS() Library { return Library{"kafkajs", openKafkaJS} }

func openKafkaJS(ctx context.Context, addr, id string, timeout time.Duration) (Producer, error) {
	node, dir, err := foreign.KafkaJS()
	if err != nil {
		return nil, err
	}
	return openProcess(ctx, "env", "NODE_PATH="+dir+"/node_modules", "KAFKAJS_NO_PARTITIONER_WARNING=1",
		node, foreign.Source("clients", "js", "kafkajs_txn.cjs"), addr, id, fmt.Sprint(timeout.Milliseconds()))
}

func openProcess(ctx context.Context, argv ...string) (Producer, error) {
	p := &process{cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.SysProcAttr, p.cmd.Stderr = target.Orphanless(), io.Discard
	if os.Getenv("TXN_DEBUG") == "1" {
		p.cmd.Stderr = os.Stderr
	}
	var err error
	if p.ask, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.answers = bufio.NewScanner(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := p.exchange(ctx, command{Op: "init"}); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// exchange sends one command and waits for its answer. When ctx ends first the
// program is killed.
func (p *process) exchange(ctx context.Context, c command) (answer, error) {
	stop := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() })
	defer stop()
	line, err := json.Marshal(c)
	if err != nil {
		return answer{}, err
	}
	if _, err := p.ask.Write(append(line, '\n')); err != nil {
		return answer{}, err
	}
	if !p.answers.Scan() {
		return answer{}, fmt.Errorf("%s: no answer (%v)", c.Op, p.answers.Err())
	}
	var a answer
	if err := json.Unmarshal(p.answers.Bytes(), &a); err != nil {
		return answer{}, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (p *process) Begin(ctx context.Context) error {
	_, err := p.exchange(ctx, command{Op: "begin"})
	return err
}

func (p *process) Send(ctx context.Context, records []Record) ([]int64, error) {
	c := command{Op: "send"}
	for _, r := range records {
		c.Records = append(c.Records, commandRecord{r.Topic, r.Index, string(r.Value)})
	}
	a, err := p.exchange(ctx, c)
	for len(a.Offsets) < len(records) {
		a.Offsets = append(a.Offsets, -1)
	}
	return a.Offsets, err
}

func (p *process) Stage(ctx context.Context, s history.Staged) error {
	_, err := p.exchange(ctx, command{Op: "stage", Group: s.Group, Topic: s.Partition.Topic, Index: s.Partition.Index, Offset: s.Offset})
	return err
}

func (p *process) Commit(ctx context.Context) error {
	_, err := p.exchange(ctx, command{Op: "commit"})
	return err
}

func (p *process) Abort(ctx context.Context) error {
	_, err := p.exchange(ctx, command{Op: "abort"})
	return err
}

// Close kills the program: that is how programs end in this test.
func (p *process) Close() {
	p.ask.Close()
	p.cmd.Process.Kill()
	p.cmd.Wait()
}
