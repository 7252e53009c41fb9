package broker

import (
	"strings"
	"testing"

	"millrace/internal/log"
)

func TestTopicSettingsAreSortedAndDocumented(t *testing.T) {
	for i, s := range topicSettings {
		if i > 0 && topicSettings[i-1].name >= s.name {
			t.Errorf("%s stands before %s", topicSettings[i-1].name, s.name)
		}
		if s.doc == "" || s.kind == 0 || s.check == nil || s.apply == nil {
			t.Errorf("%s is incomplete", s.name)
		}
		if err := checkTopicSetting(s.name, s.fallback); err != nil {
			t.Errorf("the default of %s is refused: %v", s.name, err)
		}
	}
}

func TestDefaultSettingsAreTheLogsDefaults(t *testing.T) {
	if got, want := logConfig(nil), log.DefaultConfig(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSettingsReachTheLog(t *testing.T) {
	cfg := logConfig(map[string]string{
		"retention.ms": "1000", "retention.bytes": "2000", "segment.bytes": "3000", "segment.ms": "4000", "max.message.bytes": "5000",
		"flush.messages": "1", "flush.ms": "6", "message.timestamp.type": "LogAppendTime", "index.interval.bytes": "7000",
		"message.timestamp.before.max.ms": "8", "message.timestamp.after.max.ms": "9",
		"cleanup.policy": "delete, compact", "min.cleanable.dirty.ratio": "0.25", "min.compaction.lag.ms": "10", "max.compaction.lag.ms": "11", "delete.retention.ms": "12",
	})
	want := log.Config{
		RetentionMs: 1000, RetentionBytes: 2000, SegmentBytes: 3000, SegmentMs: 4000, MaxMessageBytes: 5000, FlushMessages: 1, FlushMs: 6,
		LogAppendTime: true, IndexIntervalBytes: 7000, TimestampBeforeMaxMs: 8, TimestampAfterMaxMs: 9,
		Cleanup: log.CleanupCompactDelete, MinCleanableDirtyRatio: 0.25, MinCompactionLagMs: 10, MaxCompactionLagMs: 11, DeleteRetentionMs: 12,
	}
	if cfg != want {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

// What is not implemented is refused with words that say why, never accepted.
func TestRefusedSettings(t *testing.T) {
	for _, test := range []struct{ name, value, says string }{
		{"cleanup.policy", "shred", "use delete, compact"},
		{"cleanup.policy", "compact,shred", "use delete, compact"},
		{"cleanup.policy", "", "use delete, compact"},
		{"compression.type", "gzip", "exactly as they arrive"},
		{"min.insync.replicas", "2", "one node"},
		{"unclean.leader.election.enable", "true", "one node"},
		{"segment.jitter.ms", "5", "segment.ms"},
		{"remote.storage.enable", "true", "tiered"},
		{"delete.retention.ms", "-1", "at least 0"},
		{"max.compaction.lag.ms", "0", "at least 1"},
		{"min.cleanable.dirty.ratio", "1.5", "from 0 to 1"},
		{"min.cleanable.dirty.ratio", "NaN", "from 0 to 1"},
		{"retention.ms", "-2", "at least -1"},
		{"retention.ms", "7d", "whole number"},
		{"retention.ms", "", "whole number"},
		{"segment.bytes", "10", "from 1024"},
		{"max.message.bytes", "100000000", "from 0 to"},
		{"flush.messages", "0", "at least 1"},
		{"message.timestamp.type", "Yesterday", "CreateTime, LogAppendTime"},
		{"retention.hours", "1", "unknown topic config"},
		{"", "1", "unknown topic config"},
	} {
		err := checkTopicSetting(test.name, test.value)
		if err == nil {
			t.Errorf("%s=%s is accepted", test.name, test.value)
		} else if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s=%s: %q does not say %q", test.name, test.value, err, test.says)
		}
	}
}
