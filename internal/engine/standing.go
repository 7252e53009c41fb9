package engine

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// Job is what stands of a job on a cluster: its group, its topics, and what its
// tasks wrote into their changelogs with the last commit. Nobody has to run it.
type Job struct {
	App          string
	State        string // running, rebalancing, stopped, or "without offsets"
	Instances    []client.Member
	Inputs       []client.GroupOffset // of the topics that it reads, its own ones too
	Stores       []StandingStore      // by name
	Repartitions []record.Topic
	Watermark    record.Timestamp // the least of the stores'; NoTimestamp when unknown
	Fingerprint  string           // of the forms of its stores; empty without a commit
}

// Lag is the number of records that the job has not committed yet.
func (j *Job) Lag() (n int64) {
	for _, in := range j.Inputs {
		n += in.Lag()
	}
	return n
}

// Versions are those of the running programs, each once.
func (j *Job) Versions() []string {
	versions := make(map[string]bool)
	for _, m := range j.Instances {
		if m.Job != nil && m.Job.Version != "" {
			versions[m.Job.Version] = true
		}
	}
	return slices.Sorted(maps.Keys(versions))
}

// StandingStore is a store of a job on a cluster.
type StandingStore struct {
	Name       string
	Changelog  record.Topic
	Partitions []StandingPart // ascending
	Form       string         // how its entries are stored: "key string, value count as int64"
	Reads      []record.Topic // of its tasks

	form form
}

// StandingPart is the part of a store that one task keeps.
type StandingPart struct {
	Partition record.Partition
	Committed bool // a task has committed; else the rest is not known
	Offsets   map[record.Topic]record.Offset
	Watermark record.Timestamp // NoTimestamp when unknown
	Records   int64            // of the changelog, compacted away or not

	commit *commitRecord
}

// NoJobError names a job that the cluster does not have.
type NoJobError struct {
	App  string
	Jobs []string // those that it has
}

func (e *NoJobError) Error() string {
	if len(e.Jobs) == 0 {
		return fmt.Sprintf("job %q does not exist: the cluster has no job", e.App)
	}
	return fmt.Sprintf("job %q does not exist; the cluster has %s", e.App, strings.Join(e.Jobs, ", "))
}

// Jobs are the jobs that stand on a cluster, by name: groups whose members are
// instances of Millrace, and what the changelogs and offsets of stopped ones say.
func Jobs(ctx context.Context, c client.Config) ([]Job, error) {
	return survey(ctx, c, "")
}

// FindJob is one of them; *[NoJobError] when it is not there.
func FindJob(ctx context.Context, c client.Config, app string) (*Job, error) {
	jobs, err := survey(ctx, c, app)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range jobs {
		if jobs[i].App == app {
			return &jobs[i], nil
		}
		names = append(names, jobs[i].App)
	}
	return nil, &NoJobError{App: app, Jobs: names}
}

// survey looks at the whole cluster, and at every partition of the job in detail.
func survey(ctx context.Context, c client.Config, detail string) ([]Job, error) {
	admin, err := client.NewAdmin(c)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if err := admin.Check(ctx); err != nil {
		return nil, err
	}
	reader, err := client.NewReader(c)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	s := surveyor{ctx: ctx, admin: admin, reader: reader, jobs: make(map[string]*Job), detail: detail}
	if err := s.look(); err != nil {
		return nil, err
	}
	var all []Job
	for _, app := range slices.Sorted(maps.Keys(s.jobs)) {
		all = append(all, *s.jobs[app])
	}
	return all, nil
}

type surveyor struct {
	ctx    context.Context
	admin  *client.Admin
	reader *client.Reader
	jobs   map[string]*Job
	groups []client.Group
	detail string // the job whose stores are read in every partition
}

// Endings of internal topics, as in Kafka Streams.
const (
	changelogEnding   = "-changelog"
	repartitionEnding = "-repartition"
)

func (s *surveyor) look() (err error) {
	if s.groups, err = s.admin.Groups(s.ctx); err != nil {
		return err
	}
	for _, g := range s.groups {
		if isJob(g) {
			s.job(g.Name)
		}
	}
	facts, err := s.admin.Facts(s.ctx)
	if err != nil {
		return err
	}
	if err := s.stores(facts); err != nil {
		return err
	}
	for _, g := range s.groups {
		if j := s.jobs[g.Name]; j != nil {
			j.State, j.Instances, j.Inputs = stateOf(g), g.Members, g.Offsets
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(facts)) {
		if j := s.owner(topic, repartitionEnding); j != nil {
			j.Repartitions = append(j.Repartitions, topic)
		}
	}
	for _, j := range s.jobs {
		j.conclude()
	}
	return nil
}

func (s *surveyor) job(app string) *Job {
	if s.jobs[app] == nil {
		s.jobs[app] = &Job{App: app, State: "without offsets"}
	}
	return s.jobs[app]
}

// isJob tells a job's group from others: by its members, or by what they noted
// with their offsets.
func isJob(g client.Group) bool {
	if g.Protocol == client.JobProtocol {
		return true
	}
	return slices.ContainsFunc(g.Offsets, func(o client.GroupOffset) bool {
		_, err := topology.WatermarkOf(o.Note)
		return len(o.Note) > 0 && err == nil
	})
}

func stateOf(g client.Group) string {
	switch {
	case len(g.Members) == 0:
		return "stopped"
	case g.State == "Stable":
		return "running"
	}
	return "rebalancing"
}

// owner is the job of an internal topic by the longest name that fits.
func (s *surveyor) owner(topic record.Topic, ending string) (best *Job) {
	for app, j := range s.jobs {
		if strings.HasPrefix(string(topic), app+"-") && strings.HasSuffix(string(topic), ending) && (best == nil || len(app) > len(best.App)) {
			best = j
		}
	}
	return best
}

// stores finds the stores of all jobs by their changelogs.
func (s *surveyor) stores(facts map[record.Topic]client.TopicFacts) error {
	var changelogs []record.Topic
	for _, topic := range slices.Sorted(maps.Keys(facts)) {
		if strings.HasSuffix(string(topic), changelogEnding) {
			changelogs = append(changelogs, topic)
		}
	}
	if len(changelogs) == 0 {
		return nil
	}
	spans, err := s.admin.Spans(s.ctx, changelogs...)
	if err != nil {
		return err
	}
	for _, topic := range changelogs {
		if err := s.store(topic, facts[topic].Partitions, spans); err != nil {
			return err
		}
	}
	return nil
}

func (s *surveyor) store(topic record.Topic, partitions int32, spans map[record.TopicPartition]client.Span) error {
	store := StandingStore{Changelog: topic}
	known := s.owner(topic, changelogEnding)
	for p := range partitions {
		tp := record.TopicPartition{Topic: topic, Partition: record.Partition(p)}
		part := StandingPart{Partition: tp.Partition, Watermark: record.NoTimestamp, Records: int64(spans[tp].Stable - spans[tp].Start)}
		if store.form == (form{}) || s.detail != "" && strings.HasPrefix(string(topic), s.detail+"-") {
			commit, err := s.lastCommit(tp, spans[tp], known != nil)
			if err != nil {
				return err
			}
			part.reflect(commit)
			store.reflect(commit)
		}
		store.Partitions = append(store.Partitions, part)
	}
	app, own := strings.CutSuffix(string(topic), "-"+store.form.store+changelogEnding)
	switch {
	case store.form != (form{}) && own:
		known = s.job(app)
	case known == nil:
		return nil // another program's
	}
	store.Name = cmp.Or(store.form.store, strings.TrimSuffix(strings.TrimPrefix(string(topic), known.App+"-"), changelogEnding))
	known.Stores = append(known.Stores, store)
	return nil
}

func (p *StandingPart) reflect(c *commitRecord) {
	if c == nil {
		return
	}
	p.Committed, p.commit, p.Offsets = true, c, make(map[record.Topic]record.Offset)
	for _, in := range c.inputs {
		p.Offsets[in.topic] = in.offset
	}
	p.Watermark, _ = topology.WatermarkOf(c.progress) // without one it is not known
}

func (s *StandingStore) reflect(c *commitRecord) {
	if c == nil {
		return
	}
	s.form, s.Form = c.form, c.form.String()
	for _, in := range c.inputs {
		if !slices.Contains(s.Reads, in.topic) {
			s.Reads = append(s.Reads, in.topic)
		}
	}
}

// lastCommit is the newest commit record of a changelog; nil if there is none.
// A task writes it behind everything else of a commit, so it is near the end,
// but for what was aborted since. In a changelog that need not be a job's, only
// the end is looked at.
func (s *surveyor) lastCommit(tp record.TopicPartition, span client.Span, ours bool) (*commitRecord, error) {
	var newest []byte
	take := func(c *client.Columns) error {
		for i, key := range c.Keys {
			if isCommitKey(key) {
				newest = slices.Clone(c.Values[i])
			}
		}
		return nil
	}
	for back := record.Offset(64); ; back *= 32 {
		from := max(span.Start, span.Stable-back)
		if err := s.reader.Read(s.ctx, tp, from, span.Stable, take); err != nil {
			return nil, err
		}
		switch {
		case newest != nil:
			return decodeCommit(newest)
		case from == span.Start || !ours && back > 1000:
			return nil, nil
		}
	}
}

// conclude sums the stores up.
func (j *Job) conclude() {
	j.Watermark = record.NoTimestamp
	var forms []form
	for _, s := range j.Stores {
		if s.form != (form{}) {
			forms = append(forms, s.form)
		}
		for _, p := range s.Partitions {
			if p.Watermark != record.NoTimestamp && (j.Watermark == record.NoTimestamp || p.Watermark < j.Watermark) {
				j.Watermark = p.Watermark
			}
		}
	}
	j.Fingerprint = fingerprint(forms)
}

// fingerprint is equal for jobs whose state is of the same form.
func fingerprint(forms []form) string {
	if len(forms) == 0 {
		return ""
	}
	slices.SortFunc(forms, func(a, b form) int { return cmp.Compare(a.store, b.store) })
	h := fnv.New64a()
	for _, f := range forms {
		fmt.Fprintf(h, "%x\n", f.hash())
	}
	return fmt.Sprintf("%016x", h.Sum64())
}
