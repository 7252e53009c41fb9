package wire_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
)

func produceBody(version int16, partitions, recordBytes int) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 30_000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "click_events"
	for i := range partitions {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i), make([]byte, recordBytes)
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	return req.AppendTo(nil)
}

func fetchBody(version int16, partitions int) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.Version = version
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "click_events"
	for i := range partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = int32(i)
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	return req.AppendTo(nil)
}

func metadataBody(version int16, topics int) []byte {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	for i := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(fmt.Sprintf("topic-%05d", i))
		req.Topics = append(req.Topics, topic)
	}
	return req.AppendTo(nil)
}

func BenchmarkDecodeProduce4Partitions(b *testing.B) {
	for _, version := range []int16{7, 9, 13} {
		b.Run(fmt.Sprintf("v%d", version), func(b *testing.B) {
			h, body := wire.Header{Key: produceKey, Version: version}, produceBody(version, 4, 16<<10)
			var req wire.ProduceRequest
			b.ReportAllocs()
			for b.Loop() {
				if err := req.Decode(h, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeFetch100Partitions(b *testing.B) {
	for _, version := range []int16{11, 12, 18} {
		b.Run(fmt.Sprintf("v%d", version), func(b *testing.B) {
			h, body := wire.Header{Key: fetchKey, Version: version}, fetchBody(version, 100)
			var req wire.FetchRequest
			b.ReportAllocs()
			for b.Loop() {
				if err := req.Decode(h, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeMetadata1000Topics(b *testing.B) {
	h, body := wire.Header{Key: metadataKey, Version: 9}, metadataBody(9, 1000)
	var req wire.MetadataRequest
	b.ReportAllocs()
	for b.Loop() {
		if err := req.Decode(h, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWalkMetadata1000Topics(b *testing.B) {
	body := metadataBody(9, 1000)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		_ = wire.Walk(metadataKey, 9, body)
	}
}

func BenchmarkWalkCapturedFrames(b *testing.B) {
	type request struct {
		h    wire.Header
		body []byte
	}
	var all []request
	for _, c := range readCaptures(b) {
		if h, body, err := wire.ParseHeader(c.frame); err == nil {
			all = append(all, request{h, body})
		}
	}
	b.ReportAllocs()
	next := 0
	for b.Loop() {
		r := &all[next%len(all)]
		if err := wire.Walk(r.h.Key, r.h.Version, r.body); err != nil {
			b.Fatal(err)
		}
		next++
	}
}

func BenchmarkProduceResponse4Partitions(b *testing.B) {
	var req wire.ProduceRequest
	if err := req.Decode(wire.Header{Key: produceKey, Version: 9}, produceBody(9, 4, 100)); err != nil {
		b.Fatal(err)
	}
	var resp wire.ProduceResponse
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		resp.Reset(&req)
		dst = wire.AppendResponse(dst[:0], 1, &resp)
	}
}

func BenchmarkFetchResponse100Partitions(b *testing.B) {
	var req wire.FetchRequest
	if err := req.Decode(wire.Header{Key: fetchKey, Version: 11}, fetchBody(11, 100)); err != nil {
		b.Fatal(err)
	}
	records := make([]byte, 64<<10)
	var resp wire.FetchResponse
	var bufs net.Buffers
	b.ReportAllocs()
	for b.Loop() {
		resp.Reset(&req)
		for i := range resp.Partitions {
			resp.Partitions[i].Records = records
		}
		bufs = resp.AppendFrame(bufs[:0], 1)
	}
}

// stream is a connection that delivers the same bytes again and again.
type stream struct {
	net.Conn
	bytes.Reader
	frames []byte
}

func (s *stream) Read(p []byte) (int, error) {
	if s.Len() == 0 {
		s.Reset(s.frames)
	}
	return s.Reader.Read(p)
}

// BenchmarkReadFrame reads, parses and releases frames; conn is an in-memory
// stream with a TCP connection's deadlines, so that those are paid for.
func BenchmarkReadFrame(b *testing.B) {
	for _, size := range []int{100, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			req := frameOf(&kmsg.ProduceRequest{Version: 7}, "client")
			frame := framed(append(req, make([]byte, size-len(req))...))
			r := wire.NewReader(&stream{Conn: tcpConn(b), frames: frame}, wire.Limits{}, wire.NewBudget(64<<20), new(wire.Pool))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				f, err := r.ReadFrame(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := r.ParseHeader(f); err != nil {
					b.Fatal(err)
				}
				f.Release()
			}
		})
	}
}

func tcpConn(b *testing.B) net.Conn {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close(); _ = ln.Close() })
	return conn
}
