package suite

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// place is where a record lies.
type place struct {
	partition int32
	offset    int64
}

// nth turns a predicate into one that is satisfied by the n-th match.
func nth(n int, match func(event) bool) func(event) bool {
	return func(e event) bool {
		if match(e) {
			n--
		}
		return n <= 0
	}
}

// acksOf returns where each acknowledged click was said to lie.
func acksOf(t *testing.T, events []event) map[int]place {
	t.Helper()
	acks := map[int]place{}
	for _, e := range events {
		if e.Acked != nil {
			acks[*e.Acked] = place{e.Partition, e.Offset}
		}
	}
	if len(acks) == 0 {
		t.Fatalf("nothing was acknowledged: %+v", events[:min(3, len(events))])
	}
	return acks
}

// checkLog reads the whole topic, with the suite's own reader, and compares:
// every acknowledged click lies at its offset and nowhere else. A click that
// was not acknowledged may lie there or not.
func checkLog(t *testing.T, b *target.Broker, topic string, acks map[int]place) {
	t.Helper()
	found := checkPlaces(t, b, topic, acks)
	var wrong complaints
	for n, at := range acks {
		if len(found[n]) > 1 {
			wrong.add("click %d was acknowledged at %v and lies at %v", n, at, found[n])
		}
	}
	wrong.report(t)
}

// checkPlaces is checkLog without "nowhere else": it returns where each click lies.
// A producer without idempotence that was not answered sends again what the broker
// may have written already.
func checkPlaces(t *testing.T, b *target.Broker, topic string, acks map[int]place) map[int][]place {
	t.Helper()
	found := map[int][]place{}
	conn := dial(t, b)
	partitions, err := conn.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(partitions) {
		awaitReadable(t, conn, topic, p, acks)
		err := conn.ReadAll(topic, p, 0, func(batch probe.Batch) error {
			records, err := batch.Records()
			for _, r := range records {
				var click struct{ N int }
				if err := json.Unmarshal(r.Value, &click); err != nil {
					return fmt.Errorf("offset %d: %w", r.Offset, err)
				}
				found[click.N] = append(found[click.N], place{p, r.Offset})
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var wrong complaints
	for n, at := range acks {
		if places := found[n]; !slices.Contains(places, at) {
			wrong.add("click %d was acknowledged at %v and lies at %v", n, at, places)
		}
	}
	wrong.report(t)
	return found
}

// awaitReadable waits until a partition's readers see as far as it was
// acknowledged: what was sent with acks=1 may stay behind the high watermark
// until the next background sync.
func awaitReadable(t *testing.T, conn *probe.Conn, topic string, partition int32, acks map[int]place) {
	t.Helper()
	next := int64(0)
	for _, at := range acks {
		if at.partition == partition {
			next = max(next, at.offset+1)
		}
	}
	for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		end, err := conn.Offset(topic, partition, probe.Latest)
		if err != nil {
			t.Fatal(err)
		}
		if end >= next || time.Now().After(deadline) {
			return
		}
	}
}

// complaints are faults of the same kind, of which a few are enough to read.
type complaints []string

func (c *complaints) add(format string, args ...any) { *c = append(*c, fmt.Sprintf(format, args...)) }

func (c complaints) report(t *testing.T) {
	t.Helper()
	if len(c) > 0 {
		t.Errorf("%d faults, such as:\n%s", len(c), strings.Join(c[:min(5, len(c))], "\n"))
	}
}

// checkReads checks that an undisturbed consumer saw each acknowledged click
// once, at its place, and no other.
func checkReads(t *testing.T, acks map[int]place, events []event) {
	t.Helper()
	seen := map[int][]place{}
	for _, e := range events {
		if e.Read != nil {
			seen[*e.Read] = append(seen[*e.Read], place{e.Partition, e.Offset})
		}
	}
	var wrong complaints
	for n, at := range acks {
		if places := seen[n]; len(places) != 1 || places[0] != at {
			wrong.add("click %d was acknowledged at %v and consumed at %v", n, at, places)
		}
	}
	for n, places := range seen {
		if _, acked := acks[n]; !acked {
			wrong.add("click %d was consumed at %v and not acknowledged", n, places)
		}
	}
	wrong.report(t)
}

// awaitReads waits until a consumer has seen every acknowledged click.
func awaitReads(t *testing.T, p *program, acks map[int]place) {
	t.Helper()
	missing := map[int]bool{}
	for n := range acks {
		missing[n] = true
	}
	p.until(t, soon, "read of every acknowledged click", func(e event) bool {
		if e.Read != nil {
			delete(missing, *e.Read)
		}
		return len(missing) == 0
	})
}

// awaitMembers waits until a group is stable with n members.
func awaitMembers(t *testing.T, b *target.Broker, group string, n int) {
	t.Helper()
	conn := dial(t, b)
	deadline := time.Now().Add(soon)
	for {
		g, err := conn.DescribeGroup(group)
		if err == nil && g.State == "Stable" && g.Members == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("group %s is %+v (%v), want Stable with %d members", group, g, err, n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// sharePartitions produces until both members have read something, and checks
// that no partition is read by both.
func sharePartitions(t *testing.T, b *target.Broker, topic string, one, two *program) {
	t.Helper()
	awaitMembers(t, b, topic+"-group", 2)
	const first, count = 500, 80
	acks := acksOf(t, spread.produce(t, b, topic, first, count, 0).finish(t, soon))
	owners := map[int32]*program{}
	deadline := time.After(soon)
	for left := len(acks); left > 0; {
		var e event
		var owner *program
		running := true
		select {
		case e, running = <-one.events:
			owner = one
		case e, running = <-two.events:
			owner = two
		case <-deadline:
			t.Fatalf("%d of %d clicks were not consumed by the two members", left, len(acks))
		}
		if !running {
			t.Fatalf("%s ended: %v\n%s", owner.name, owner.end(), owner.words(nil))
		}
		if e.Read == nil || *e.Read < first {
			continue
		}
		left--
		if other := owners[e.Partition]; other != nil && other != owner {
			t.Errorf("both members read partition %d", e.Partition)
		}
		owners[e.Partition] = owner
	}
	shares := map[*program]int{}
	for _, owner := range owners {
		shares[owner]++
	}
	if len(shares) != 2 {
		t.Errorf("one member read all of %v", owners)
	}
}
