package main

import (
	"testing"
	"time"

	"millrace/millracetest"
)

// A count survives what can happen to a transaction: an abort, a kill -9.
func TestClicksOfEachUser(t *testing.T) {
	d := millracetest.New(t, clickCount())
	d.Pipe(events, nil, click{User: "ana", Page: "/"})
	d.Pipe(events, nil, click{User: "bob", Page: "/"})
	d.Abort()
	d.Commit()
	d.Pipe(events, nil, click{User: "ana", Page: "/buy"})
	d.Crash()
	d.Commit()
	if got := d.Table(perUser); got["ana"] != 2 || got["bob"] != 1 || len(got) != 2 {
		t.Errorf("got %v, want ana 2 and bob 1", got)
	}
}

// The clicks of a minute come once, when the minute is over.
func TestClicksOfEachPageAndMinute(t *testing.T) {
	d := millracetest.New(t, clickCount(), millracetest.Partitions(1))
	minute := d.Now().Truncate(time.Minute)
	d.PipeAt(events, nil, click{User: "ana", Page: "/"}, minute)
	d.PipeAt(events, nil, click{User: "bob", Page: "/"}, minute.Add(59*time.Second))
	d.Commit()
	if got := d.Read(perPage); len(got) != 0 {
		t.Errorf("the minute is not over, and there is %v", got)
	}
	d.PipeAt(events, nil, click{User: "ana", Page: "/buy"}, minute.Add(65*time.Second)) // the window's grace is 5s
	d.Commit()
	got := d.Read(perPage)
	if len(got) != 1 || got[0].Key.Key != "/" || got[0].Value != 2 {
		t.Errorf("got %v, want 2 clicks of /", got)
	}
}

// What is no click goes to click_events-dlq, with the reason, and stops nobody.
func TestBadRecordsGoToTheDeadLetters(t *testing.T) {
	d := millracetest.New(t, clickCount())
	d.PipeBytes(events.Name(), nil, []byte("no JSON"), d.Now())
	d.Pipe(events, nil, click{User: "ana"})
	d.Commit()
	if letters := d.DeadLetters("click_events-dlq"); len(letters) != 1 {
		t.Errorf("dead letters: %v", letters)
	}
	if got := d.Table(perUser); got["ana"] != 1 {
		t.Errorf("got %v, want ana 1", got)
	}
}
