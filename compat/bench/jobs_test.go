package main

import (
	"fmt"
	"testing"
	"time"
)

// A topic of as many clicks as users has each of them once, in the partition of
// their number, and a click is of the size that all figures are about.
func TestEachUserClicksOnce(t *testing.T) {
	for _, users := range []int{10_000, 1_000_000, 10_000_000} {
		in := input{users: users}
		seen := make([]bool, users)
		for n := range users {
			if u := in.user(n); seen[u] {
				t.Fatalf("click %d of %d users is the second of user %d", n, users, u)
			} else {
				seen[u] = true
			}
		}
	}
	in := input{keyed: true, users: 10_000}
	click := in.click(12)
	if len(click.Value) != recordBytes || string(click.Key) != string(userName(in.user(12))) {
		t.Errorf("key %s, %d bytes: %s", click.Key, len(click.Value), click.Value)
	}
}

func TestEventTimeGoesOn(t *testing.T) {
	in := input{users: 10, aSecond: 2}
	for n, want := range map[int]string{
		0: fmt.Sprintf(`{"user_id":"user_%07d","timestamp":%d,"page":"/00"}`, in.user(0), firstClick),
		5: fmt.Sprintf(`{"user_id":"user_%07d","timestamp":%d,"page":"/05"}`, in.user(5), firstClick+2),
	} {
		if got := in.click(n); string(got.Value) != want || got.Key != nil {
			t.Errorf("click %d: key %q, %s, want %s", n, got.Key, got.Value, want)
		}
	}
}

func TestStreamsUsage(t *testing.T) {
	const running, end = `{"state": "RUNNING"}` + "\n", `{"events": 500, "seconds": 2.5, "cpu_seconds": 4.25}` + "\n"
	u, err := streamsUsage(running+end, 500)
	if err != nil || u.rate != 200 || u.cpu != 4250*time.Millisecond {
		t.Errorf("%+v, %v", u, err)
	}
	for _, out := range []string{"", running, `{"cpu_seconds": `, end + "", `{"events": 500, "seconds": 0, "cpu_seconds": 1}`} {
		if _, err := streamsUsage(out, 501); err == nil {
			t.Errorf("%q is a result of 501 events", out)
		}
	}
}

func TestCostsAreOfOneEvent(t *testing.T) {
	var c jobCosts
	c.add(usage{rate: 7, cpu: 3 * time.Second, commits: 4}, time.Second, 2_000_000)
	if c.jobCPU[0] != 1.5 || c.brokerCPU[0] != 0.5 || c.cpu[0] != 2 || c.rate[0] != 7 || c.commits[0] != 4 {
		t.Errorf("%+v", c)
	}
}

func TestComebackEndsWithTheLastClick(t *testing.T) {
	e := extraClicks{sent: 2 * clicksPartitions}
	o := e.outstanding()
	if o.want != 3 || len(o.users) != clicksPartitions {
		t.Fatalf("%+v", o)
	}
	for user := range clicksPartitions {
		for _, clicks := range []int{1, 2} {
			if err := o.see(string(userName(user)), clicks); err != nil || len(o.users) != clicksPartitions-user {
				t.Fatalf("after %d clicks of user %d: %+v, %v", clicks, user, o, err)
			}
		}
		if err := o.see(string(userName(user)), 3); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.users) != 0 {
		t.Errorf("still missing: %v", o.users)
	}
	if o.see("user_0000000", 4) == nil {
		t.Error("a click that was counted twice is not noticed")
	}
}
