package oracle

import (
	"fmt"
	"strings"
	"testing"
)

// sound is a run of three users in which nothing went wrong.
func sound() Evidence {
	e := Evidence{Sent: map[string]Event{}, Outputs: map[string][]int64{}, Followed: map[string][]int64{}, Changelog: map[string]int64{}, Answers: map[string]int64{}}
	for n := range 60 {
		id, user := fmt.Sprintf("1-%d", n), fmt.Sprintf("user_%d", n%3)
		event := Event{ID: id, User: user, Page: "home", Acked: n%7 != 0}
		value := fmt.Sprintf(`{"id":"%s","user_id":"%s","timestamp":%d,"page":"home"}`, id, user, n)
		at := Place{int32(n % 2), int64(n / 2)}
		if n%20 == 19 {
			event.Broken = true
			value = fmt.Sprintf(`{"id":"%s","user_id":`, id)
			e.DeadLetters = append(e.DeadLetters, at)
		} else {
			e.Answers[user]++
			e.Changelog[user]++
			e.Followed[user] = append(e.Followed[user], e.Answers[user])
			e.Outputs[user] = []int64{e.Answers[user]} // the others are compacted away
		}
		e.Sent[id] = event
		e.Input = append(e.Input, Stored{at, []byte(value)})
	}
	e.Sent["1-99"] = Event{ID: "1-99", User: "user_0"} // unknown, and not stored
	return e
}

// TestSound: nothing is found where nothing is wrong.
func TestSound(t *testing.T) {
	if faults := Check(sound()); len(faults) > 0 {
		t.Error(faults)
	}
}

// TestPlanted plants one difference of each kind, and it is found.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		want  string
		plant func(*Evidence)
	}{
		{"INPUT LOST", func(e *Evidence) { e.Input = e.Input[2:] }},
		{"INPUT DOUBLED", func(e *Evidence) { e.Input = append(e.Input, Stored{Place{0, 99}, e.Input[1].Value}) }},
		{"which nobody sent", func(e *Evidence) { e.Input = append(e.Input, Stored{Place{0, 99}, []byte("x")}) }},
		{"COUNT: user_1", func(e *Evidence) { e.Answers["user_1"]++ }},
		{"COUNT: user_1", func(e *Evidence) { e.Changelog["user_1"]-- }},
		{"COUNT: user_1", func(e *Evidence) { e.Outputs["user_1"][0]-- }},
		{"COUNT: user_1", func(e *Evidence) { e.Followed["user_1"] = e.Followed["user_1"][:3] }},
		{"COUNT: user_9", func(e *Evidence) { e.Answers["user_9"] = 1 }},
		{"STEP: user_2", func(e *Evidence) { // doubled, and corrected later
			e.Followed["user_2"][4]++
			e.Followed["user_2"][5]--
		}},
		{"STEP: user_2", func(e *Evidence) { e.Outputs["user_2"] = append(e.Outputs["user_2"], 3) }},
		{"is there 0 times", func(e *Evidence) { e.DeadLetters = e.DeadLetters[1:] }},
		{"is there 2 times", func(e *Evidence) { e.DeadLetters = append(e.DeadLetters, e.DeadLetters[0]) }},
		{"is sound", func(e *Evidence) { e.DeadLetters = append(e.DeadLetters, Place{0, 0}) }},
	} {
		e := sound()
		c.plant(&e)
		if faults := strings.Join(Check(e), "\n"); !strings.Contains(faults, c.want) {
			t.Errorf("want %q, the checker says %q", c.want, faults)
		}
	}
}
