package group

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/record"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata give into them; review the diff")

// TestScripts runs the transcripts in testdata: a command, "----", and what the
// group answered.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	s := newScript()
	for block := range strings.SplitSeq(strings.TrimSpace(string(want)), "\n\n") {
		command, _, _ := strings.Cut(block, "\n----")
		fmt.Fprintf(&got, "%s\n----\n%s\n", command, s.run(t, command))
	}
	if *rewrite {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text := got.String(); strings.TrimSpace(text) != strings.TrimSpace(string(want)) {
		t.Errorf("%s differs (run with -rewrite and review):\n%s", file, text)
	}
}

// script is one group with a clock, and the last record that it stored.
type script struct {
	group     *Group
	cfg       Config
	start     time.Time
	now       time.Time
	ids       int
	stored    Snapshot
	storeFail bool
	shown     string
}

func newScript() *script {
	start := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	s := &script{start: start, now: start, cfg: Config{InitialRebalanceDelay: -1}.WithDefaults()}
	s.group = New("g", s.cfg, s.now)
	return s
}

// run takes all commands of a block and gives their output.
func (s *script) run(t *testing.T, block string) string {
	var out []string
	for line := range strings.SplitSeq(block, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		out = append(out, s.step(t, strings.Fields(line))...)
	}
	if state := s.state(); state != s.shown {
		out = append(out, state)
		s.shown = state
	}
	if len(out) == 0 {
		out = append(out, "nothing")
	}
	return strings.Join(out, "\n") + "\n"
}

func (s *script) state() string {
	return fmt.Sprintf("[%s generation=%d members=%d]", s.group.State(), s.group.Generation(), s.group.MemberCount())
}

func (s *script) step(t *testing.T, words []string) []string {
	a := arguments{t, words[1:]}
	switch words[0] {
	case "config":
		s.configure(a)
		return nil
	case "join":
		return s.effects(s.group.Join(s.now, s.joinRequest(a)))
	case "sync":
		return s.effects(s.group.Sync(s.now, syncRequest(a)))
	case "heartbeat":
		return []string{says(s.group.Heartbeat(s.now, a.text("id"), a.text("instance"), int32(a.number("gen", 0))))}
	case "leave":
		return s.leave(a)
	case "advance":
		return s.advance(a.duration(words[1]))
	case "resume":
		s.group.Resume(s.now)
		return nil
	case "commit":
		return []string{s.commit(a)}
	case "expired":
		return []string{s.expired()}
	case "may-delete":
		return s.mayDelete(a)
	case "restart":
		return s.restart()
	case "store-fails":
		s.storeFail = true
		return nil
	case "describe":
		return s.describe()
	}
	t.Fatalf("no command %q", words[0])
	return nil
}

func (s *script) configure(a arguments) {
	s.cfg.InitialRebalanceDelay = a.duration(a.or("delay", "-1ns"))
	s.cfg.MaxSize = a.number("maxsize", 10_000)
	s.cfg.MaxBytes = a.number("maxbytes", 8<<20)
	s.cfg.MaxOffsetMetadata = a.number("maxmetadata", 4096)
	s.group = New("g", s.cfg, s.now)
}

func (s *script) joinRequest(a arguments) JoinRequest {
	client := a.or("client", "c")
	if instance := a.text("instance"); instance != "" {
		client = instance
	}
	s.ids++
	version := a.number("v", 9)
	return JoinRequest{
		Token:             Token(a.number("token", 0)),
		MemberID:          a.text("id"),
		InstanceID:        a.text("instance"),
		ClientID:          client,
		ClientHost:        "/127.0.0.1",
		SessionTimeout:    a.duration(a.or("session", "10s")),
		RebalanceTimeout:  a.duration(a.or("rebalance", "60s")),
		ProtocolType:      a.or("type", "consumer"),
		Protocols:         protocols(a.or("offers", "range:t")),
		Reason:            a.text("reason"),
		NewMemberID:       client + "-" + strconv.Itoa(s.ids),
		RequireMemberID:   version >= 4,
		CanSkipAssignment: version >= 9,
	}
}

// protocols parses "range:t1,t2;roundrobin:t1"; "range=bytes" gives bytes that are no subscription.
func protocols(text string) (all []Protocol) {
	for p := range strings.SplitSeq(text, ";") {
		name, topics, isTopics := strings.Cut(p, ":")
		metadata := subscription(strings.Split(topics, ",")...)
		if !isTopics {
			var raw string
			name, raw, _ = strings.Cut(p, "=")
			metadata = []byte(raw)
		}
		all = append(all, Protocol{Name: name, Metadata: metadata})
	}
	return all
}

// subscription is a consumer's metadata, version 1: topics, no user data, nothing owned.
func subscription(topics ...string) []byte {
	b := []byte{0, 1}
	b = binary.BigEndian.AppendUint32(b, uint32(len(topics)))
	for _, t := range topics {
		b = binary.BigEndian.AppendUint16(b, uint16(len(t)))
		b = append(b, t...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)
}

func syncRequest(a arguments) SyncRequest {
	r := SyncRequest{
		Token:        Token(a.number("token", 0)),
		MemberID:     a.text("id"),
		InstanceID:   a.text("instance"),
		Generation:   int32(a.number("gen", 1)),
		ProtocolType: a.text("type"),
		Protocol:     a.text("protocol"),
	}
	for given := range strings.SplitSeq(a.text("assign"), ",") {
		if id, work, ok := strings.Cut(given, ":"); ok {
			r.Assignments = append(r.Assignments, Assignment{MemberID: id, Bytes: []byte(work)})
		}
	}
	return r
}

func (s *script) leave(a arguments) []string {
	var leavers []Leaver
	for l := range strings.SplitSeq(a.or("who", ""), ",") {
		id, instance, _ := strings.Cut(l, "@")
		leavers = append(leavers, Leaver{MemberID: id, InstanceID: instance})
	}
	errs, effects := s.group.Leave(s.now, leavers)
	var out []string
	for i, err := range errs {
		out = append(out, fmt.Sprintf("leave %s@%s: %s", leavers[i].MemberID, leavers[i].InstanceID, says(err)))
	}
	return append(out, s.effects(effects)...)
}

// advance moves the clock and lets every deadline on the way come in its turn.
func (s *script) advance(d time.Duration) (out []string) {
	end := s.now.Add(d)
	for at := s.group.Next(); !at.IsZero() && !at.After(end); at = s.group.Next() {
		s.setNow(at)
		for _, line := range s.effects(s.group.Expire(at)) {
			out = append(out, fmt.Sprintf("@%s %s", at.Sub(s.start), line))
		}
	}
	s.setNow(end)
	return out
}

func (s *script) setNow(at time.Time) {
	s.now = at
	s.group.SetWall(record.TimestampOf(at))
}

func (s *script) commit(a arguments) string {
	if err := s.group.CheckCommit(s.now, a.text("id"), a.text("instance"), int32(a.number("gen", -1))); err != nil {
		return says(err)
	}
	if err := s.group.CheckMetadata(a.text("metadata")); err != nil {
		return says(err)
	}
	o := Offset{Offset: record.Offset(a.number("offset", 0)), CommittedAt: record.TimestampOf(s.now), ExpiresAt: record.NoTimestamp}
	if keep := a.text("retention"); keep != "" {
		o.ExpiresAt = record.TimestampOf(s.now.Add(a.duration(keep)))
	}
	s.group.SetOffset(record.TopicPartition{Topic: record.Topic(a.or("topic", "t"))}, o)
	return "ok"
}

func (s *script) expired() string {
	var names []string
	for _, tp := range s.group.Expired(s.now) {
		names = append(names, tp.String())
		s.group.RemoveOffset(tp)
	}
	slices.Sort(names)
	return fmt.Sprintf("expired %v idle=%v", names, s.group.Idle())
}

func (s *script) mayDelete(a arguments) []string {
	return []string{
		"group: " + says(s.group.CheckDelete()),
		"offsets: " + says(s.group.CheckDeleteOffsets()),
		"offset of " + a.or("topic", "t") + ": " + says(s.group.CheckDeleteOffset(record.Topic(a.or("topic", "t")))),
	}
}

func (s *script) restart() []string {
	offsets := maps.Collect(s.group.Offsets())
	s.group = New("g", s.cfg, s.now)
	for tp, o := range offsets {
		s.group.SetOffset(tp, o)
	}
	s.group.Restore(s.now, s.stored)
	return nil
}

func (s *script) describe() []string {
	d := s.group.Describe()
	out := []string{fmt.Sprintf("%s type=%q protocol=%q", d.State, d.ProtocolType, d.Protocol)}
	for _, m := range d.Members {
		out = append(out, fmt.Sprintf("  %s instance=%q metadata=%s assignment=%q", m.ID, m.InstanceID, readable(m.Metadata), m.Assignment))
	}
	return out
}

// effects carries out what the group asks for, as the broker would.
func (s *script) effects(e Effects) (out []string) {
	if e.Changed != "" {
		out = append(out, "# "+e.Changed)
	}
	for _, a := range e.Joins {
		out = append(out, joinLine(a))
	}
	for _, a := range e.Syncs {
		out = append(out, syncLine(a))
	}
	if e.Store == nil {
		return out
	}
	var err error
	if s.storeFail {
		s.storeFail, err = false, errors.New("disk full")
		out = append(out, "store fails")
	} else {
		s.stored = *e.Store
		out = append(out, storeLine(*e.Store))
	}
	return append(out, s.effects(s.group.Stored(s.now, err))...)
}

func joinLine(a JoinAnswer) string {
	if a.Err != nil {
		return fmt.Sprintf("join %d: %s id=%q", a.Token, says(a.Err), a.MemberID)
	}
	line := fmt.Sprintf("join %d: id=%s generation=%d protocol=%s leader=%s", a.Token, a.MemberID, a.Generation, a.Protocol, a.Leader)
	if a.SkipAssignment {
		line += " skip-assignment"
	}
	for _, m := range a.Members {
		line += fmt.Sprintf(" %s(%s)", m.ID, readable(m.Metadata))
	}
	return line
}

func syncLine(a SyncAnswer) string {
	if a.Err != nil {
		return fmt.Sprintf("sync %d: %s", a.Token, says(a.Err))
	}
	return fmt.Sprintf("sync %d: %q protocol=%s", a.Token, a.Assignment, a.Protocol)
}

func storeLine(s Snapshot) string {
	line := fmt.Sprintf("store generation=%d protocol=%q leader=%q", s.Generation, s.Protocol, s.Leader)
	for _, m := range s.Members {
		line += fmt.Sprintf(" %s(%q)", m.ID, m.Assignment)
	}
	return line
}

func readable(metadata []byte) string {
	topics, err := parseSubscription(metadata)
	if err != nil {
		return fmt.Sprintf("%q", metadata)
	}
	return strings.Join(slices.Sorted(maps.Keys(topics)), ",")
}

func says(err error) string {
	if err == nil {
		return "ok"
	}
	return strings.TrimPrefix(err.Error(), "group: ")
}

// arguments are the words key=value of a command; a bare number is its token.
type arguments struct {
	t     *testing.T
	words []string
}

func (a arguments) text(key string) string {
	for _, w := range a.words {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			return v
		}
	}
	if key == "token" && len(a.words) > 0 {
		return a.words[0]
	}
	return ""
}

func (a arguments) or(key, otherwise string) string {
	if v := a.text(key); v != "" {
		return v
	}
	return otherwise
}

func (a arguments) number(key string, otherwise int) int {
	v := a.text(key)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		a.t.Fatalf("%s=%s: %v", key, v, err)
	}
	return n
}

func (a arguments) duration(v string) time.Duration {
	d, err := time.ParseDuration(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return d
}
