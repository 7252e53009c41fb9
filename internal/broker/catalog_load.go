package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"millrace/internal/log"
	"millrace/record"
)

// openCatalog reads the topics of the store and puts in order what a crash left
// half done: it makes the logs of a creation and finishes a deletion.
func openCatalog(store *log.Store, maxPartitions int, logger *slog.Logger) (*catalog, error) {
	c := &catalog{fsys: store.FS(), store: store, logger: logger, maxPartitions: maxPartitions, topics: newTopicTable()}
	c.mu.condemned = map[record.Topic]error{}
	if err := c.makeDirs(); err != nil {
		return nil, fmt.Errorf("open topic catalog: %w", err)
	}
	found, err := c.readTopicFiles()
	if err != nil {
		return nil, fmt.Errorf("open topic catalog: %w", err)
	}
	orphans := c.logsByTopic()
	for _, f := range found {
		existing := orphans[f.name]
		delete(orphans, f.name)
		if err := c.settle(f, existing); err != nil {
			return nil, fmt.Errorf("open topic %s: %w", f.name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(orphans)) {
		if err := c.adopt(name, orphans[name]); err != nil {
			return nil, fmt.Errorf("adopt topic %s: %w", name, err)
		}
	}
	return c, nil
}

func (c *catalog) makeDirs() error {
	if err := c.fsys.MkdirAll(topicsDir); err != nil {
		return err
	}
	return errors.Join(c.fsys.SyncDir(metadataDir), c.fsys.SyncDir("."))
}

// foundTopic is one state file, read.
type foundTopic struct {
	name record.Topic
	id   topicID
	topicFile
	err error
}

// readers is how many state files are read at the same time.
const readers = 8

// readTopicFiles reads all state files, by name. Damaged ones are reported and
// left out: their topics are adopted from what the logs tell.
func (c *catalog) readTopicFiles() ([]foundTopic, error) {
	names, err := c.fsys.List(topicsDir)
	if err != nil {
		return nil, err
	}
	all := make([]foundTopic, len(names))
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			for i := r; i < len(names); i += readers {
				all[i] = c.readTopicFile(names[i])
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(all, func(f foundTopic) bool { return errors.Is(f.err, errNoTopic) }), firstError(all)
}

// errNoTopic marks a name in the directory that is no readable topic.
var errNoTopic = errors.New("broker: no topic")

func firstError(all []foundTopic) error {
	for _, f := range all {
		if f.err != nil && !errors.Is(f.err, errNoTopic) {
			return f.err
		}
	}
	return nil
}

func (c *catalog) readTopicFile(name string) foundTopic {
	f := foundTopic{name: record.Topic(name)}
	if strings.HasPrefix(name, draftPrefix) { // a write that a crash cut off
		f.err = errors.Join(errNoTopic, c.fsys.Remove(topicsDir+"/"+name))
		return f
	}
	if err := f.name.Validate(); err != nil {
		c.logger.Warn("a file in the topic catalog is not a topic", "file", name, "directory", topicsDir)
		f.err = errNoTopic
		return f
	}
	f.err = readStateFile(c.fsys, topicsDir, name, &f.topicFile)
	if f.err == nil {
		f.id, f.err = parseTopicID(f.ID)
	}
	if f.err == nil || !errors.Is(f.err, errDamaged) {
		return f
	}
	c.logger.Error("a topic's state file is damaged: its settings are lost, its records are kept", "topic", name, "error", f.err)
	f.err = errNoTopic
	return f
}

func (c *catalog) logsByTopic() map[record.Topic][]*log.Log {
	byTopic := map[record.Topic][]*log.Log{}
	for _, l := range c.store.Logs() {
		byTopic[l.TP().Topic] = append(byTopic[l.TP().Topic], l)
	}
	return byTopic
}

// settle opens one topic of the catalog with the logs that exist for it.
func (c *catalog) settle(f foundTopic, existing []*log.Log) error {
	if f.Deleting {
		return c.finishDeletion(f.name, existing)
	}
	t := newTopic(f.name, f.id, f.Internal, f.Config)
	for _, l := range existing {
		if l.TopicID() != t.id {
			c.logger.Error("a partition's directory carries another topic ID than the catalog; it is served as it is",
				"partition", l.TP(), "directory_id", topicID(l.TopicID()), "catalog_id", t.id)
		}
	}
	return c.show(t, f.Partitions, existing)
}

func (c *catalog) finishDeletion(name record.Topic, existing []*log.Log) error {
	names := make([]record.TopicPartition, len(existing))
	for i, l := range existing {
		names[i] = l.TP()
	}
	if err := c.store.Delete(names); err != nil {
		return err
	}
	return removeStateFiles(c.fsys, topicsDir, string(name))
}

// show makes the topic's missing logs and publishes it.
func (c *catalog) show(t *topic, partitions int, existing []*log.Log) error {
	have := map[record.Partition]bool{}
	for _, l := range existing {
		have[l.TP().Partition] = true
		partitions = max(partitions, int(l.TP().Partition)+1)
		l.SetConfig(logConfig(t.settings()))
	}
	missing := slices.DeleteFunc(t.createSpecs(0, partitions), func(s log.CreateSpec) bool { return have[s.TP.Partition] })
	if len(missing) > 0 {
		c.logger.Warn("a topic's partitions are missing on disk: they are made empty (after a crash while the topic was created this is normal)",
			"topic", t.name, "missing", len(missing), "of", partitions)
		if err := c.store.Create(missing); err != nil {
			return err
		}
	}
	c.mu.partitions += t.open(c.store, partitions)
	c.publishLocked(t)
	return nil
}

// adopt makes a topic of logs that no readable state file names: the file was
// damaged, or somebody brought a partition's directory along. Nothing is known
// of its settings, so nothing of it is deleted by age.
func (c *catalog) adopt(name record.Topic, logs []*log.Log) error {
	t := newTopic(name, logs[0].TopicID(), reservedName(string(name)), map[string]string{"retention.ms": "-1"})
	if t.id == (topicID{}) || c.topics.identified(t.id) != nil { // or the copy of a topic that is here already
		t.id = newTopicID()
	}
	partitions := 0
	for _, l := range logs {
		partitions = max(partitions, int(l.TP().Partition)+1)
	}
	c.logger.Warn("partitions without a topic in the catalog: the topic is served with default settings and without retention",
		"topic", name, "partitions", partitions)
	if err := writeStateFiles(c.fsys, topicsDir, stateFile{string(name), t.file(partitions)}); err != nil {
		return err
	}
	return c.show(t, partitions, logs)
}
