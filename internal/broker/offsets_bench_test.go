package broker_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// BenchmarkOffsetCommit is a commit of four partitions, acknowledged, on this
// machine's disk: of one client after the other, and of many at once, which
// share syncs.
func BenchmarkOffsetCommit(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d clients", clients), func(b *testing.B) {
			b.ReportAllocs()
			n := serveGroups(b, openDir(b, b.TempDir()))
			dial(b, n.addr).createTopic("t", 4)
			var next atomic.Int32
			b.SetParallelism((clients + 1) / 2) // times two processors
			b.RunParallel(func(pb *testing.PB) {
				m := outside(b, n, fmt.Sprintf("g%d", next.Add(1)))
				for pb.Next() {
					m.mustCommit("t", 1, 2, 3, 4)
				}
			})
		})
	}
}

// BenchmarkOffsetFetch is a fetch of four partitions.
func BenchmarkOffsetFetch(b *testing.B) {
	b.ReportAllocs()
	n := serveGroups(b, crashfs.New())
	m := outside(b, n, "g")
	m.createTopic("t", 4)
	m.mustCommit("t", 1, 2, 3, 4)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0, 1, 2, 3}}}}}
	for b.Loop() {
		call[*kmsg.OffsetFetchResponse](m.rawConn, 8, req)
	}
}

// BenchmarkOpenWithOffsets is a start with 100,000 offset commits of 20 groups
// in the log, which is about as much as the keeper lets stand.
func BenchmarkOpenWithOffsets(b *testing.B) {
	b.ReportAllocs()
	fsys := openDir(b, b.TempDir())
	n := serveGroups(b, fsys)
	dial(b, n.addr).createTopic("t", 100)
	for g := range 20 {
		m := outside(b, n, fmt.Sprintf("g%d", g))
		for i := range 50 {
			offsets := make([]int64, 100)
			offsets[0] = int64(i)
			m.mustCommit("t", offsets...)
		}
	}
	n.stop(b)
	for b.Loop() {
		again, err := broker.Open(broker.Config{FS: fsys})
		if err != nil {
			b.Fatal(err)
		}
		if err := again.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
