package client_test

import (
	"errors"
	"testing"

	"millrace/internal/client"
	"millrace/record"
)

func TestTopicsLifeCycle(t *testing.T) {
	c := fakeCluster(t)
	admin := newAdmin(t, c)
	spec := client.TopicSpec{Name: clicks, Partitions: 2, Settings: map[string]string{"retention.ms": "1000"}}
	if err := admin.CreateTopic(soon(t), spec); err != nil {
		t.Fatal(err)
	}
	if err := admin.CreateTopic(soon(t), spec); !errors.Is(err, client.ErrTopicExists) {
		t.Errorf("created twice: %v", err)
	}
	send(t, c, clicks, 10)
	topic, settings, err := admin.Topic(soon(t), clicks)
	if err != nil {
		t.Fatal(err)
	}
	if topic.Records() != 10 || len(topic.Partitions) != 2 {
		t.Errorf("described as %+v, want 10 records in 2 partitions", topic)
	}
	if got := setting(settings, "retention.ms"); got.Value != "1000" || got.Default {
		t.Errorf("retention.ms is %+v, want 1000 set on the topic", got)
	}
	if err := admin.AddPartitions(soon(t), clicks, 5); err != nil {
		t.Error(err)
	}
	if err := admin.AlterTopic(soon(t), clicks, map[string]string{"max.message.bytes": "2000"}, []string{"retention.ms"}); err != nil {
		t.Error(err)
	}
	topic, settings, err = admin.Topic(soon(t), clicks)
	if err != nil || len(topic.Partitions) != 5 || setting(settings, "max.message.bytes").Value != "2000" || !setting(settings, "retention.ms").Default {
		t.Errorf("after the changes: %+v %+v %v", topic, settings, err)
	}
	if err := admin.DeleteTopic(soon(t), clicks); err != nil {
		t.Error(err)
	}
	if topics, err := admin.Topics(soon(t), false); err != nil || len(topics) != 0 {
		t.Errorf("after the deletion: %v %v", topics, err)
	}
}

func setting(all []client.Setting, name string) client.Setting {
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return client.Setting{}
}

func TestUnknownTopicSuggestsTheNearest(t *testing.T) {
	c := fakeCluster(t)
	admin := newAdmin(t, c)
	if err := admin.CreateTopic(soon(t), client.TopicSpec{Name: "click_events", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	_, _, err := admin.Topic(soon(t), "clik_events")
	want := `topic "clik_events" does not exist. Did you mean "click_events"?`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := admin.DeleteTopic(soon(t), "nothing_alike"); !errors.Is(err, client.UnknownTopicError{Topic: "nothing_alike"}) {
		t.Errorf("deleting an unknown topic: %v", err)
	}
}

func TestRefusedTopicSaysWhy(t *testing.T) {
	admin := newAdmin(t, fakeCluster(t))
	for _, spec := range []client.TopicSpec{
		{Name: "a/b", Partitions: 1},
		{Name: "good", Partitions: 1, Replicas: 3},
	} {
		if err := admin.CreateTopic(soon(t), spec); !errors.Is(err, client.ErrRefused) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}

func TestGroupReset(t *testing.T) {
	c := fakeCluster(t)
	send(t, c, clicks, 30)
	admin := newAdmin(t, c)
	member := c
	member.Group = "readers"
	consumer, err := client.NewConsumer(member, client.Subscription{Topics: []record.Topic{clicks}})
	if err != nil {
		t.Fatal(err)
	}
	read(t, consumer, 30)
	if err := consumer.Commit(soon(t)); err != nil {
		t.Fatal(err)
	}
	g, err := admin.Group(soon(t), "readers")
	if err != nil || g.State != "Stable" || len(g.Members) != 1 || g.Lag() != 0 || len(g.Members[0].Assigned) != 3 {
		t.Fatalf("with one member: %+v %v", g, err)
	}
	moves, err := admin.PlanReset(soon(t), "readers", nil, client.FromBeginning())
	if err != nil || len(moves) != 3 {
		t.Fatalf("planned %+v %v", moves, err)
	}
	if err := admin.ResetOffsets(soon(t), "readers", moves); !errors.Is(err, client.ErrGroupInUse) {
		t.Errorf("reset under a running member: %v", err)
	}
	consumer.Close()
	if err := admin.ResetOffsets(soon(t), "readers", moves); err != nil {
		t.Fatal(err)
	}
	if g, err := admin.Group(soon(t), "readers"); err != nil || g.Lag() != 30 {
		t.Errorf("after the reset the lag is %d, want 30 (%v)", g.Lag(), err)
	}
	if err := admin.DeleteGroup(soon(t), "readers"); err != nil {
		t.Error(err)
	}
	if _, err := admin.Group(soon(t), "readers"); !errors.Is(err, client.UnknownGroupError{Group: "readers"}) {
		t.Errorf("after the deletion: %v", err)
	}
}

func TestResetPositions(t *testing.T) {
	c := fakeCluster(t)
	send(t, c, clicks, 30)
	admin := newAdmin(t, c)
	for _, test := range []struct {
		to   client.Start
		want int64
	}{{client.FromBeginning(), 0}, {client.FromEnd(), 30}, {client.FromLast(1), 27}, {client.FromOffset(1), 3}, {client.FromOffset(1000), 30}} {
		moves, err := admin.PlanReset(soon(t), "new", []record.Topic{clicks}, test.to)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, m := range moves {
			sum += int64(m.To)
		}
		if sum != test.want {
			t.Errorf("reset to %+v gives offsets that sum to %d, want %d", test.to, sum, test.want)
		}
	}
}
