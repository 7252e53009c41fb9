package engine

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/internal/broker"
	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/internal/vfs"
	"millrace/record"
)

// hopPlan counts over a repartition topic; its tasks are never made.
func hopPlan() topology.Plan {
	return topology.Plan{App: "app", Subs: []topology.Sub{
		{ID: 0, Sources: []topology.Source{{Topic: "in", Upstream: -1}}, Sinks: []topology.Sink{{Topic: "app-c-repartition", Kind: topology.SinkRepartition}}},
		{
			ID: 1, Sources: []topology.Source{{Topic: "app-c-repartition", Upstream: 0}}, CoPartitioned: true,
			Sinks:  []topology.Sink{{Topic: "out", Kind: topology.SinkTable}},
			Stores: []topology.StoreSpec{{Name: "c", Changelog: "app-c-changelog", Key: "string", Value: "count"}},
		},
	}}
}

// secured is a cluster with ACLs: an admin, and the user as whom a job runs.
type secured struct{ admin, user client.Config }

func login(t *testing.T, address, user string) client.Config {
	t.Helper()
	c := client.Config{Brokers: []string{address}}
	for key, value := range map[string]string{
		"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": user + "-password",
	} {
		if err := c.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func securedKfake(t *testing.T) secured {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "admin", "admin-password"), kfake.User("PLAIN", "worker", "worker-password"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return secured{login(t, c.ListenAddrs()[0], "admin"), login(t, c.ListenAddrs()[0], "worker")}
}

func securedBroker(t *testing.T) secured {
	t.Helper()
	disk, err := vfs.OpenOS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(broker.Config{FS: disk, RequireLogin: true, SuperUsers: []string{"User:admin"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"admin", "worker"} {
		if err := b.AddUser(user, user+"-password"); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(b.Close(ctx), <-served, disk.Close()); err != nil {
			t.Error(err)
		}
	})
	return secured{login(t, l.Addr().String(), "admin"), login(t, l.Addr().String(), "worker")}
}

// grants are what docs/kafka.md says that a job needs, with what is said when
// one is missing.
var grants = []struct {
	acl      client.ACL
	says     string
	warnings bool
}{
	{client.ACL{Resource: "topic", Name: "in", Operation: "read"}, `may not read topic "in"`, false},
	{client.ACL{Resource: "topic", Name: "out", Operation: "write"}, `may not write topic "out"`, false},
	{client.ACL{Resource: "topic", Name: "app-", Prefixed: true, Operation: "read"}, `may not read topic "app-c-changelog"`, false},
	{client.ACL{Resource: "topic", Name: "app-", Prefixed: true, Operation: "write"}, `may not write topic "app-c-repartition"`, false},
	{client.ACL{Resource: "topic", Name: "app-", Prefixed: true, Operation: "delete"}, `may not delete records of "app-c-repartition"`, true},
	{client.ACL{Resource: "group", Name: "app", Operation: "read"}, `may not be in the consumer group "app"`, false},
	{client.ACL{Resource: "transactional-id", Name: "app-", Prefixed: true, Operation: "write"}, "may not use the job's transactional ids", false},
}

const kfakeName = "kfake"

// creating are needed while topics are missing.
var creating = []client.ACL{
	{Resource: "topic", Name: "app-", Prefixed: true, Operation: "create"},
	{Resource: "topic", Name: "out", Operation: "create"},
}

func TestPreflightSaysWhichRightIsMissing(t *testing.T) {
	for name, start := range map[string]func(*testing.T) secured{kfakeName: securedKfake, "broker": securedBroker} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			s := start(t)
			admin, user := mustAdmin(t, s.admin), mustAdmin(t, s.user)
			create := func(topics ...record.Topic) {
				for _, topic := range topics {
					spec := client.TopicSpec{Name: topic, Partitions: 2, Replicas: 1}
					if strings.HasSuffix(string(topic), changelogEnding) {
						spec.Settings = tableSettings(0, false)
					}
					if err := admin.CreateTopic(ctx, spec); err != nil {
						t.Fatal(err)
					}
				}
			}
			create("in")
			plan := hopPlan()
			find := func() (problems, warnings []error) {
				c, err := look(ctx, user, &plan, "app-worker", nil)
				if err != nil {
					t.Fatal(err)
				}
				return c.problems(&plan, 10*time.Second), c.warnings(&plan)
			}
			if problems, _ := find(); len(problems) < 5 { // four topics, the ids, the group
				t.Errorf("without any right: %v", problems)
			}
			for _, g := range grants {
				grant(t, admin, g.acl)
			}
			problems, _ := find()
			if len(problems) != 3 || !said(problems, `topic "out" does not exist, and this user may not create it`) {
				t.Errorf("without the right to create: %v", problems)
			}
			for _, acl := range creating {
				grant(t, admin, acl)
			}
			if problems, warnings := find(); len(problems)+len(warnings) > 0 {
				t.Errorf("with all rights: %v, %v", problems, warnings)
			}
			create("out", "app-c-repartition", "app-c-changelog")
			for _, g := range grants {
				if name == kfakeName && g.acl.Resource == "group" {
					continue // kfake lets everybody beat in a group's name
				}
				if err := admin.RemoveACLs(ctx, []client.ACL{forWorker(g.acl)}); err != nil {
					t.Fatal(err)
				}
				problems, warnings := find()
				if g.warnings {
					problems, warnings = warnings, problems
				}
				if !said(problems, g.says) || len(warnings) > 0 && !strings.HasPrefix(g.says, "may not use") {
					t.Errorf("without %+v: problems %v, warnings %v", g.acl, problems, warnings)
				}
				for _, p := range problems {
					if !errors.Is(p, client.ErrForbidden) || !strings.Contains(p.Error(), "millrace acls add --allow USER") {
						t.Errorf("no remedy in %q", p)
					}
				}
				grant(t, admin, g.acl)
			}
		})
	}
}

// A job that may not do its work says so before it has made anything.
func TestRefusedBeforeAnythingIsMade(t *testing.T) {
	s := securedBroker(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	admin := mustAdmin(t, s.admin)
	grant(t, admin, client.ACL{Resource: "topic", Name: "*", Operation: "create"}) // it could make topics
	e, err := New(Options{Plan: hopPlan(), Client: s.user, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	err = e.Run(ctx)
	refused, ok := errors.AsType[*PreflightError](err)
	if !ok || !errors.Is(err, client.ErrForbidden) || !said(refused.Problems, `consumer group "app"`) {
		t.Errorf("got %v", err)
	}
	if e.Status().State != Failed {
		t.Errorf("the job is %s", e.Status().State)
	}
	facts, err := admin.Facts(ctx)
	if err != nil || len(facts) > 0 {
		t.Errorf("topics were made: %v, %v", facts, err)
	}
}

func mustAdmin(t *testing.T, c client.Config) *client.Admin {
	t.Helper()
	a, err := client.NewAdmin(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func forWorker(acl client.ACL) client.ACL {
	acl.Principal, acl.Host, acl.Permission = "User:worker", "*", "allow"
	return acl
}

func grant(t *testing.T, admin *client.Admin, acl client.ACL) {
	t.Helper()
	if err := admin.AddACLs(t.Context(), []client.ACL{forWorker(acl)}); err != nil {
		t.Fatal(err)
	}
}

func said(problems []error, words string) bool {
	return slices.ContainsFunc(problems, func(p error) bool { return strings.Contains(p.Error(), words) })
}

func TestReplicasThatCanNeverBe(t *testing.T) {
	plan := hopPlan()
	all := func(change func(*cluster)) *cluster {
		c := &cluster{
			whole:    client.ClusterAccess{Brokers: 3, Settings: map[string]string{}},
			topics:   map[record.Topic]client.TopicAccess{},
			settings: map[record.Topic]map[string]string{},
		}
		for _, topic := range []record.Topic{"in", "out", "app-c-repartition", "app-c-changelog", transactionsTopic, offsetsTopic} {
			c.topics[topic] = client.TopicAccess{Exists: true, Replicas: 3, InSync: 3, Rights: client.AllRights}
			c.settings[topic] = map[string]string{"min.insync.replicas": "2"}
		}
		change(c)
		return c
	}
	one := client.TopicAccess{Exists: true, Replicas: 1, InSync: 1, Rights: client.AllRights}
	for name, c := range map[string]struct {
		change func(*cluster)
		says   string // empty: nothing
	}{
		"all is well":         {func(*cluster) {}, ""},
		"input of one":        {func(c *cluster) { c.topics["in"] = one }, ""}, // the job does not write it
		"output of one":       {func(c *cluster) { c.topics["out"] = one }, `topic "out" has 1 replicas and min.insync.replicas=2`},
		"transactions":        {func(c *cluster) { c.topics[transactionsTopic] = one }, "so no transaction can commit"},
		"offsets":             {func(c *cluster) { c.topics[offsetsTopic] = one }, "so no group can commit an offset"},
		"settings are secret": {func(c *cluster) { c.topics["out"] = one; delete(c.settings, "out") }, ""},
		"changelog of age":    {func(c *cluster) { c.settings["app-c-changelog"]["cleanup.policy"] = "compact,delete" }, `"app-c-changelog" has cleanup.policy=compact,delete: state would be lost`},
		"compacted hop":       {func(c *cluster) { c.settings["app-c-repartition"]["cleanup.policy"] = "compact" }, "records on their way would be lost"},
		"no transactions yet": {func(c *cluster) {
			delete(c.topics, transactionsTopic)
			c.whole.Brokers, c.whole.Settings["transaction.state.log.replication.factor"] = 1, "3"
		}, "transaction.state.log.replication.factor=3, and the cluster has 1 brokers"},
		"transactions that would wait": {func(c *cluster) {
			delete(c.topics, transactionsTopic)
			c.whole.Settings["transaction.state.log.replication.factor"], c.whole.Settings["transaction.state.log.min.isr"] = "1", "2"
		}, "transaction.state.log.min.isr=2 is more than"},
		"no offsets yet": {func(c *cluster) {
			delete(c.topics, offsetsTopic)
			c.whole.Brokers, c.whole.Settings["offsets.topic.replication.factor"] = 1, "3"
		}, "offsets.topic.replication.factor=3"},
		"new topics": {func(c *cluster) {
			delete(c.topics, "out")
			c.whole.Settings["default.replication.factor"], c.whole.Settings["min.insync.replicas"] = "1", "2"
		}, `such as "out", would get 1 replicas`},
		"short transactions": {func(c *cluster) { c.whole.Settings["transaction.max.timeout.ms"] = "5000" }, "transaction.max.timeout.ms"},
	} {
		problems := all(c.change).problems(&plan, 10*time.Second)
		if c.says == "" && len(problems) > 0 || c.says != "" && (len(problems) != 1 || !said(problems, c.says)) {
			t.Errorf("%s: %v", name, problems)
		}
	}
	behind := all(func(c *cluster) {
		c.topics["out"] = client.TopicAccess{Exists: true, Replicas: 3, InSync: 1, Rights: client.AllRights}
	})
	if problems := behind.problems(&plan, time.Second); len(problems) > 0 {
		t.Errorf("replicas that come back are no reason to refuse: %v", problems)
	}
	if warnings := behind.warnings(&plan); len(warnings) != 1 || !said(warnings, "1 replicas in sync and needs 2") {
		t.Errorf("%v", warnings)
	}
}
