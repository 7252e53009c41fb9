package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"millrace/internal/log"
	"millrace/internal/vfs"
	"millrace/record"
)

// Faults that a change of the catalog is refused for; any other error is the disk's.
var (
	errTopicExists     = errors.New("topic exists already")
	errTopicUnknown    = errors.New("no such topic")
	errTopicIDUnknown  = errors.New("no topic has that ID")
	errTopicRef        = errors.New("a topic is named by its name or by its ID, one of the two")
	errTopicInternal   = errors.New("topic belongs to the broker")
	errTooManyLogs     = errors.New("partition limit of this broker reached")
	errFewerPartitions = errors.New("a topic's partitions can only grow")
)

// catalog knows the topics: which there are, with how many partitions and which
// settings. Every change is durable before it shows (R19). One state file per
// topic stands beside the logs:
//
//	metadata/topics/<topic>   {"id":"…","partitions":4,"config":{…}}
//
// A creation writes the file first and the logs second, so that a start after a
// crash finds what is missing and makes it. A deletion first marks the file, then
// removes the logs, then the file, so that a start finishes it.
//
// Readers take no lock. Changes are made one at a time, disk work included:
// they are rare, and a request with many topics costs one round of syncs.
type catalog struct {
	fsys          vfs.FS
	store         *log.Store
	logger        *slog.Logger
	maxPartitions int

	topics *topicTable
	others traffic // of the topics without series of their own

	mu struct {
		sync.Mutex
		partitions int                    // of all topics
		series     int                    // topics with series of their own
		condemned  map[record.Topic]error // marked as deleted, but their logs could not be removed
	}
}

const (
	metadataDir = "metadata"
	topicsDir   = metadataDir + "/topics"
)

// topicFile is a topic's state file.
type topicFile struct {
	ID         string            `json:"id"`
	Partitions int               `json:"partitions"`
	Internal   bool              `json:"internal,omitzero"`
	Config     map[string]string `json:"config,omitempty"`
	Deleting   bool              `json:"deleting,omitzero"`
}

// topicSpec is a topic to be made. The caller has checked name and settings.
type topicSpec struct {
	name       record.Topic
	partitions int
	settings   map[string]string
	internal   bool
}

// create makes the topics durable, then visible. It gives one result per spec:
// errTopicExists, errTooManyLogs, or the disk's error, which concerns all.
func (c *catalog) create(specs []topicSpec) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	results := make([]error, len(specs))
	var plan creation
	for i, spec := range specs {
		results[i] = c.admitLocked(spec, plan.partitions)
		if results[i] == nil {
			plan.add(newTopic(spec.name, newTopicID(), spec.internal, spec.settings), spec.partitions)
		}
	}
	if err := c.makeLocked(plan); err != nil {
		failAll(results, err)
		return results
	}
	for _, t := range plan.topics {
		c.publishLocked(t)
	}
	return results
}

// admit is create without doing it: it says which topics could not be made.
func (c *catalog) admit(specs []topicSpec) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	results := make([]error, len(specs))
	others := 0
	for i, spec := range specs {
		if results[i] = c.admitLocked(spec, others); results[i] == nil {
			others += spec.partitions
		}
	}
	return results
}

// creation is topics on their way to the disk.
type creation struct {
	topics     []*topic
	counts     []int // of partitions, per topic
	partitions int   // of all of them
}

func (p *creation) add(t *topic, partitions int) {
	p.topics = append(p.topics, t)
	p.counts = append(p.counts, partitions)
	p.partitions += partitions
}

// admitLocked says why the topic cannot be made, beside so many other new partitions.
func (c *catalog) admitLocked(spec topicSpec, others int) error {
	if c.topics.named(string(spec.name)) != nil {
		return fmt.Errorf("%w: %s", errTopicExists, spec.name)
	}
	if err := c.mu.condemned[spec.name]; err != nil {
		return fmt.Errorf("topic %s was deleted, but its files could not be removed; a restart of the broker finishes this: %w", spec.name, err)
	}
	return c.roomLocked(others + spec.partitions)
}

func (c *catalog) roomLocked(more int) error {
	if left := c.maxPartitions - c.mu.partitions; more > left {
		return fmt.Errorf("%w: it serves %d, %d of them in use, and %d more are wanted", errTooManyLogs, c.maxPartitions, c.mu.partitions, more)
	}
	return nil
}

// makeLocked puts files and logs on the disk. After an error it takes the files
// back, so that the topics do not appear at the next start; when that fails too
// they do, which a creation without a known outcome allows.
func (c *catalog) makeLocked(plan creation) error {
	if len(plan.topics) == 0 {
		return nil
	}
	files := make([]stateFile, len(plan.topics))
	var logs []log.CreateSpec
	for i, t := range plan.topics {
		files[i] = stateFile{string(t.name), t.file(plan.counts[i])}
		logs = append(logs, t.createSpecs(0, plan.counts[i])...)
	}
	err := writeStateFiles(c.fsys, topicsDir, files...)
	if err == nil {
		err = c.store.Create(logs)
	}
	if err != nil {
		err = errors.Join(err, removeStateFiles(c.fsys, topicsDir, topicNames(plan.topics)...))
		return fmt.Errorf("create %d topics: %w", len(files), err)
	}
	for i, t := range plan.topics {
		c.mu.partitions += t.open(c.store, plan.counts[i])
	}
	return nil
}

// publishLocked shows a topic whose logs are open.
func (c *catalog) publishLocked(t *topic) {
	t.traffic = &c.others
	if c.mu.series < maxTopicSeries {
		c.mu.series++
		t.traffic = new(traffic)
	}
	c.topics.put(t)
}

// failAll gives the error to all that had none.
func failAll(results []error, err error) {
	for i := range results {
		if results[i] == nil {
			results[i] = err
		}
	}
}

// addPartitions lets the topic grow to count partitions. The file comes first,
// as in create.
func (c *catalog) addPartitions(name string, count int, validateOnly bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.ownedByClients(name)
	if err != nil {
		return err
	}
	have := len(t.logs())
	if count <= have {
		return fmt.Errorf("%w: topic %s has %d, %d are wanted in all", errFewerPartitions, name, have, count)
	}
	if err := c.roomLocked(count - have); err != nil || validateOnly {
		return err
	}
	err = writeStateFiles(c.fsys, topicsDir, stateFile{name, t.file(count)})
	if err == nil {
		err = c.store.Create(t.createSpecs(have, count))
	}
	if err != nil { // when this cannot be taken back, the next start adds them
		return fmt.Errorf("add partitions to topic %s: %w", name, errors.Join(err, c.rewriteLocked(t)))
	}
	c.mu.partitions += t.open(c.store, count)
	return nil
}

// configure replaces the topic's explicit settings by what edit makes of a copy.
func (c *catalog) configure(name string, edit func(map[string]string) error, validateOnly bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.ownedByClients(name)
	if err != nil {
		return err
	}
	next := maps.Clone(t.settings())
	if err := edit(next); err != nil || validateOnly {
		return err
	}
	before := t.settings()
	t.explicit.Store(&next)
	if err := c.rewriteLocked(t); err != nil {
		t.explicit.Store(&before) // when this cannot be taken back, the next start applies it
		return fmt.Errorf("configure topic %s: %w", name, errors.Join(err, c.rewriteLocked(t)))
	}
	for _, l := range t.logs() {
		l.SetConfig(logConfig(next))
	}
	return nil
}

// topicRef names a topic by its name, or by its ID.
type topicRef struct {
	name string
	id   topicID // zero: unknown
}

// remove deletes the topics and returns which they were; it gives an error for
// each that was not: after a nil error neither topic nor records come back. When
// only the removal of the logs fails they are gone all the same, and the next
// start finishes the work.
func (c *catalog) remove(refs []topicRef) (removed []*topic, results []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	removed, results = make([]*topic, len(refs)), make([]error, len(refs))
	var doomed []*topic
	var marks []stateFile
	for i, ref := range refs {
		t, err := c.referred(ref)
		if results[i] = err; err != nil {
			continue
		}
		removed[i] = t
		if slices.Contains(doomed, t) {
			continue
		}
		mark := t.file(len(t.logs()))
		mark.Deleting = true
		doomed, marks = append(doomed, t), append(marks, stateFile{string(t.name), mark})
	}
	err := writeStateFiles(c.fsys, topicsDir, marks...)
	if err != nil {
		failAll(results, fmt.Errorf("delete %d topics: %w", len(marks), err))
		if err = c.rewriteLocked(doomed...); err == nil {
			return make([]*topic, len(refs)), results
		}
	}
	// Also when a mark can neither be made nor be taken back: the next start may
	// find it, so nothing more may be acknowledged for these topics.
	for _, t := range doomed {
		c.hideLocked(t)
	}
	c.eraseLocked(doomed, err)
	return removed, results
}

// rewriteLocked makes the topics' files say what the catalog shows.
func (c *catalog) rewriteLocked(topics ...*topic) error {
	files := make([]stateFile, len(topics))
	for i, t := range topics {
		files[i] = stateFile{string(t.name), t.file(len(t.logs()))}
	}
	return writeStateFiles(c.fsys, topicsDir, files...)
}

// eraseLocked removes what marked topics have on disk, unless their marks are in doubt.
func (c *catalog) eraseLocked(doomed []*topic, err error) {
	var logs []record.TopicPartition
	for _, t := range doomed {
		logs = append(logs, t.partitionNames()...)
	}
	if err == nil {
		err = c.store.Delete(logs)
	}
	if err == nil {
		err = removeStateFiles(c.fsys, topicsDir, topicNames(doomed)...)
	}
	if err == nil {
		return
	}
	for _, t := range doomed {
		c.mu.condemned[t.name] = err
	}
	c.logger.Error("the files of deleted topics could not be removed; the next start tries again", "topics", topicNames(doomed), "error", err)
}

func topicNames(topics []*topic) []string {
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = string(t.name)
	}
	return names
}

func (c *catalog) hideLocked(t *topic) {
	c.topics.remove(t)
	c.mu.partitions -= len(t.logs())
	if t.traffic != &c.others {
		c.mu.series--
	}
}

// referred is ownedByClients for a name or an ID.
func (c *catalog) referred(ref topicRef) (*topic, error) {
	if (ref.id == topicID{}) == (ref.name == "") {
		return nil, errTopicRef
	}
	if ref.name != "" {
		return c.ownedByClients(ref.name)
	}
	t := c.topics.identified(ref.id)
	if t == nil {
		return nil, fmt.Errorf("%w: %s", errTopicIDUnknown, ref.id)
	}
	return c.ownedByClients(string(t.name))
}

// ownedByClients is the topic, if it exists and clients may change it.
func (c *catalog) ownedByClients(name string) (*topic, error) {
	t := c.topics.named(name)
	switch {
	case t == nil:
		return nil, fmt.Errorf("%w: %s", errTopicUnknown, name)
	case t.internal:
		return nil, fmt.Errorf("%w: %s", errTopicInternal, name)
	}
	return t, nil
}
