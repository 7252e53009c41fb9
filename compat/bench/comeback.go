package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// comeback is a job with many keys that has gone and is started again.
type comeback struct {
	what string
	keys int
	// lost: it was stopped in order, and its state on disk is gone, so that it has
	// to come from the changelog. Otherwise it was killed, and its state is there.
	lost bool
	goal string // against Kafka Streams, or in seconds
}

const (
	// resumeKeys are those of the job that is killed.
	resumeKeys = 1_000_000
	// buildWithin bounds the count that makes the state, comebackWithin one start.
	buildWithin    = 8 * time.Minute
	comebackWithin = 5 * time.Minute
)

// resume measures kill -9 of a job with a million keys.
func resume(ctx context.Context, s settings, t *table) error {
	return comeback{what: "restart after kill -9", keys: min(resumeKeys, s.keys), goal: "<= 1 s"}.measure(ctx, s, t)
}

// restore measures the way back from the changelog alone, of KEYS keys.
func restore(ctx context.Context, s settings, t *table) error {
	return comeback{what: "restore from the changelog", keys: s.keys, lost: true, goal: "<= 0.2x"}.measure(ctx, s, t)
}

// measure lets both sides count a click of every user on one Kafka, and then
// measures them in turn from exec until clicks of all partitions are counted
// and committed again. Both are static members of their groups: what a coordinator
// waits for a dead member is a setting.
func (c comeback) measure(ctx context.Context, s settings, t *table) error {
	if t.withoutKafka {
		return nil
	}
	b, err := target.Start(ctx, target.Options{Kind: target.Kafka})
	if err != nil {
		return err
	}
	defer b.Close()
	in := input{keyed: true, users: c.keys}
	if err := createClicks(ctx, b.Addr, streamsOutput); err != nil {
		return err
	}
	if err := fillClicks(ctx, b.Addr, in, 0, c.keys); err != nil {
		return err
	}
	clicks := &extraClicks{addr: b.Addr, in: in}
	ours, err := newMillraceWorker(b.Addr, in, onlyCounts, "--instance-id=bench")
	if err != nil {
		return err
	}
	defer ours.close()
	var took, others []float64
	if err := c.build(ctx, ours, clicks); err != nil {
		return err
	}
	theirs, failed := newStreamsWorker(b.Addr, in, "instance=bench")
	if failed == nil {
		defer theirs.close()
		failed = c.build(ctx, theirs, clicks)
	}
	for range s.rounds {
		seconds, err := c.again(ctx, ours, clicks)
		if err != nil {
			return fmt.Errorf("run Millrace: %w", err)
		}
		took = append(took, seconds)
		if failed == nil {
			seconds, failed = c.again(ctx, theirs, clicks)
			others = append(others, seconds)
		}
	}
	what := fmt.Sprintf("%s, %d keys, until it counts again", c.what, c.keys)
	if failed != nil {
		others = nil
		t.void(what+", Kafka Streams", failed)
	}
	t.compare(what, "s", took, "Kafka Streams", others, c.goal)
	return nil
}

// reviver is a worker that can be ended in any way.
type reviver interface {
	worker
	start(ctx context.Context) error
	stop(ctx context.Context) error // in order
	kill() error
	lose() error // removes its state on disk; it does not run
	// results is the topic that it writes to, and what a record of it says.
	results() (topic string, count func(*kgo.Record) (int, error))
}

// build makes the state, and leaves the job running.
func (c comeback) build(ctx context.Context, w reviver, clicks *extraClicks) error {
	building, cancel := context.WithTimeout(ctx, buildWithin)
	defer cancel()
	if _, err := w.run(building, 0, c.keys+clicks.sent); err != nil {
		return fmt.Errorf("count %d keys: %w", c.keys, err)
	}
	_, err := c.backAgain(ctx, w, clicks)
	return err
}

// again ends the job that runs and returns the seconds from its next start until it
// counts again. It is killed while it works: a click has just come.
func (c comeback) again(ctx context.Context, w reviver, clicks *extraClicks) (float64, error) {
	if c.lost {
		if err := errors.Join(w.stop(ctx), w.lose()); err != nil {
			return 0, err
		}
		return c.backAgain(ctx, w, clicks)
	}
	if err := errors.Join(clicks.send(ctx), w.kill()); err != nil {
		return 0, err
	}
	return c.backAgain(ctx, w, clicks)
}

// backAgain starts a job and waits until it has committed what it had not counted.
func (c comeback) backAgain(ctx context.Context, w reviver, clicks *extraClicks) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, comebackWithin)
	defer cancel()
	topic, count := w.results()
	reader, err := readFromEnd(ctx, clicks.addr, topic)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	if err := clicks.send(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := w.start(ctx); err != nil {
		return 0, err
	}
	err = clicks.await(ctx, reader, count)
	return time.Since(began).Seconds(), err
}

// readFromEnd reads what is committed to a topic from now on.
func readFromEnd(ctx context.Context, addr, topic string) (*kgo.Client, error) {
	conn, err := probe.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	partitions, err := conn.Partitions(topic)
	if err != nil {
		return nil, err
	}
	from := make(map[int32]kgo.Offset)
	for p := range int32(partitions) {
		end, err := conn.Offset(topic, p, probe.Latest)
		if err != nil {
			return nil, err
		}
		from[p] = kgo.NewOffset().At(end)
	}
	return kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(time.Second))
}

// extraClicks are clicks behind those that made the state, in which every user had
// one: one for each partition at a time, always of the same users.
type extraClicks struct {
	addr string
	in   input
	sent int
}

func (e *extraClicks) send(ctx context.Context) error {
	conn, err := probe.Dial(ctx, e.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for user := range clicksPartitions { // the user's number names the partition, too
		click := probe.BuildKeyed([]probe.Record{e.in.clickOf(user, e.in.users)})
		if _, err := conn.Produce(clicksTopic, int32(user), 1, click); err != nil {
			return err
		}
		e.sent++
	}
	return nil
}

// await reads results until those users have all their clicks.
func (e *extraClicks) await(ctx context.Context, reader *kgo.Client, count func(*kgo.Record) (int, error)) error {
	o := e.outstanding()
	for len(o.users) > 0 {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d users have not got their %d clicks: %w", len(o.users), clicksPartitions, o.want, ctx.Err())
		}
		for _, r := range fetches.Records() {
			n, err := count(r)
			if err := errors.Join(err, o.see(string(r.Key), n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// outstanding are users whose last result has not come.
type outstanding struct {
	want  int // clicks of each
	users map[string]bool
}

func (e *extraClicks) outstanding() outstanding {
	o := outstanding{1 + e.sent/clicksPartitions, make(map[string]bool)}
	for user := range clicksPartitions {
		o.users[string(userName(user))] = true
	}
	return o
}

// see takes a committed result. One click more than there were would be one that
// was counted twice.
func (o *outstanding) see(user string, clicks int) error {
	if clicks > o.want {
		return fmt.Errorf("%s has %d clicks, want %d", user, clicks, o.want)
	}
	if clicks == o.want {
		delete(o.users, user)
	}
	return nil
}
