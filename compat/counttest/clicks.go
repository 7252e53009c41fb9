// Package counttest kills, pauses and restarts a Millrace that counts clicks, and
// the cluster that it counts on, and lets package oracle judge the result. The
// two things most callers need are Run and Options.
package counttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/compat/oracle"
)

const (
	inputTopic  = "click_events"
	writers     = 3
	users       = 200
	brokenShare = 0.01
	// inFlight bounds what one writer has sent and not yet had acknowledged; pace
	// is its pause behind every event.
	inFlight = 200
	pace     = time.Millisecond
)

// journal is what the writers know of their events.
type journal struct {
	mu    sync.Mutex
	sent  map[string]oracle.Event
	acked int
}

func newJournal() *journal { return &journal{sent: map[string]oracle.Event{}} }

func (j *journal) note(e oracle.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sent[e.ID] = e
}

func (j *journal) ack(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.sent[id]
	e.Acked = true
	j.sent[id] = e
	j.acked++
}

func (j *journal) acks() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.acked
}

// write sends events of one writer, without keys, until ctx ends. What was sent
// and not acknowledged by then is unknown.
func write(ctx context.Context, brokers string, writer int, seed uint64, j *journal) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds(brokers)...), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.DefaultProduceTopic(inputTopic), kgo.MaxBufferedRecords(inFlight), kgo.UnknownTopicRetries(-1),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.MetadataMinAge(50*time.Millisecond), kgo.DialTimeout(2*time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	random := rand.New(rand.NewPCG(seed, uint64(writer)))
	var mu sync.Mutex
	var refused error
	for n := 0; ctx.Err() == nil; n++ {
		event, value := click(random, fmt.Sprintf("%d-%d", writer, n))
		j.note(event)
		client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err == nil {
				j.ack(event.ID)
			} else if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				mu.Lock()
				defer mu.Unlock()
				refused = fmt.Errorf("writer %d: event %s: %w", writer, event.ID, err)
			}
		})
		mu.Lock()
		err := refused
		mu.Unlock()
		if err != nil {
			return err
		}
		time.Sleep(pace)
	}
	return nil
}

// click makes an event. Few users have most clicks, as in life.
func click(random *rand.Rand, id string) (oracle.Event, []byte) {
	user := fmt.Sprintf("user_%d", min(random.IntN(users), random.IntN(users), random.IntN(users)))
	page := fmt.Sprintf("/page/%d", random.IntN(10))
	now := time.Now().UnixMilli()
	if random.Float64() < brokenShare {
		shapes := []string{
			`{"id":"%s","user_id":`, `id %s and no JSON`, `{"id":"%s","timestamp":1795431684,"page":"/"}`,
			`{"id":"%s","user_id":{"a":1},"timestamp":1795431684,"page":"/"}`, `{"id":"%s","user_id":"ana","page":"/"}`,
			`["id %s"]`,
		}
		return oracle.Event{ID: id, Broken: true}, fmt.Appendf(nil, shapes[random.IntN(len(shapes))], id)
	}
	return oracle.Event{ID: id, User: user, Page: page},
		fmt.Appendf(nil, `{"id":"%s","user_id":"%s","timestamp":%d,"page":"%s"}`, id, user, now, page)
}
