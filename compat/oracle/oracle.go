// Package oracle judges a count of clicks per user that claims to be exactly
// once. It knows the clients' journals, the topics and the answers of the query
// API, and nothing of the program that counts. The two things most callers need
// are Evidence and Check.
package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Event is one click, or one broken record, as its sender knows it.
type Event struct {
	ID         string
	User, Page string // empty for a broken record
	Broken     bool
	Acked      bool // else the answer is unknown: it may be stored or not
}

// Place is where a record lies.
type Place struct {
	Partition int32
	Offset    int64
}

// Stored is one record of the input topic.
type Stored struct {
	Place
	Value []byte
}

// Evidence is all that is known of a run that has come to rest.
type Evidence struct {
	Sent  map[string]Event // by id
	Input []Stored
	// Outputs are each user's committed counts in the order of the result topic.
	Outputs map[string][]int64
	// Followed is the same as a reader of committed records was given it while the
	// faults happened: compaction has taken none away.
	Followed map[string][]int64
	// Changelog is the fold of the state's changelog; nil when it was not read.
	Changelog map[string]int64
	// Answers are what the query API says of each user.
	Answers map[string]int64
	// DeadLetters are the places that dead letters name as their source.
	DeadLetters []Place
}

// Check returns every difference, at most a hundred.
func Check(e Evidence) []string {
	c := &checker{Evidence: e}
	c.recount()
	c.journal()
	c.users()
	c.deadLetters()
	if more := c.n - len(c.faults); more > 0 {
		c.faults = append(c.faults, fmt.Sprintf("and %d more", more))
	}
	return c.faults
}

type checker struct {
	Evidence
	faults []string
	n      int

	found  map[string]Place // by id
	raw    map[string]int64 // the recount of what is stored
	sent   map[string]int64 // the recount of what was sent and is stored
	broken map[Place]bool
}

func (c *checker) fault(format string, args ...any) {
	if c.n++; c.n <= 100 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

var idIn = regexp.MustCompile(`\bid[":= ]+([0-9a-z-]+)`)

// recount reads the input by a way of its own, and by what the senders know.
func (c *checker) recount() {
	c.found, c.raw, c.sent, c.broken = map[string]Place{}, map[string]int64{}, map[string]int64{}, map[Place]bool{}
	for _, s := range c.Input {
		user, ok := click(s.Value)
		if ok {
			c.raw[user]++
		} else {
			c.broken[s.Place] = true
		}
		id := ""
		if m := idIn.FindSubmatch(s.Value); m != nil {
			id = string(m[1])
		}
		event, known := c.Sent[id]
		if !known {
			c.fault("INPUT: %v holds %q, which nobody sent", s.Place, s.Value)
			continue
		}
		if first, again := c.found[id]; again {
			c.fault("INPUT DOUBLED: %s lies at %v and at %v", id, first, s.Place)
		}
		c.found[id] = s.Place
		if event.Broken == ok {
			c.fault("INPUT: %s is stored as %q", id, s.Value)
		}
		if !event.Broken {
			c.sent[event.User]++
		}
	}
}

// click takes the user out of an event that counts.
func click(value []byte) (user string, ok bool) {
	var event struct {
		User      *string `json:"user_id"`
		Timestamp *int64  `json:"timestamp"`
		Page      *string `json:"page"`
	}
	if json.Unmarshal(value, &event) != nil || event.User == nil || event.Timestamp == nil || event.Page == nil {
		return "", false
	}
	return *event.User, true
}

// journal checks that what was acknowledged is stored.
func (c *checker) journal() {
	for id, event := range c.Sent {
		if _, stored := c.found[id]; event.Acked && !stored {
			c.fault("INPUT LOST: %s was acknowledged and is not stored", id)
		}
	}
}

// users compares the five numbers of each user, and checks that the committed
// ones only grew.
func (c *checker) users() {
	users := map[string]bool{}
	for _, counts := range []map[string]int64{c.raw, c.sent, c.Changelog, c.Answers} {
		for user := range counts {
			users[user] = true
		}
	}
	for _, outputs := range []map[string][]int64{c.Outputs, c.Followed} {
		for user, counts := range outputs {
			users[user] = true
			c.steps(user, counts)
		}
	}
	for _, user := range slices.Sorted(maps.Keys(users)) {
		want, result, followed := c.raw[user], last(c.Outputs[user]), last(c.Followed[user])
		if want != c.sent[user] || want != result || want != followed || want != c.Answers[user] ||
			c.Changelog != nil && want != c.Changelog[user] {
			c.fault("COUNT: %s: sent %d, stored %d, last result %d, last result to a reader %d, changelog %d, query %d",
				user, c.sent[user], want, result, followed, c.Changelog[user], c.Answers[user])
		}
	}
}

func (c *checker) steps(user string, counts []int64) {
	before := int64(0)
	for _, n := range counts {
		if n <= before {
			c.fault("STEP: %s was counted %d after %d", user, n, before)
		}
		before = n
	}
}

func last(counts []int64) int64 {
	if len(counts) == 0 {
		return 0
	}
	return counts[len(counts)-1]
}

// deadLetters checks that each broken record is there once and nothing else.
func (c *checker) deadLetters() {
	times := map[Place]int{}
	for _, at := range c.DeadLetters {
		times[at]++
		if !c.broken[at] {
			c.fault("DEAD LETTER: %v is sound", at)
		}
	}
	for at := range c.broken {
		if times[at] != 1 {
			c.fault("DEAD LETTER: %v is there %d times", at, times[at])
		}
	}
}
