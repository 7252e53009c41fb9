package batch

import (
	"fmt"
	"testing"

	"millrace/record"
)

// The event of the benchmarks is a click of 62 bytes.
const benchEvent = `{"user_id":"u%06d","timestamp":%013d,"page":"/%s"}`

var benchPages = []string{"home", "cart", "help", "item"}

// benchValues are n clicks of 2,000 users, one a millisecond.
func benchValues(n int) [][]byte {
	values := make([][]byte, n)
	for i := range values {
		values[i] = fmt.Appendf(nil, benchEvent, i*7919%2000, 1700000000000+i, benchPages[i*31%4])
	}
	return values
}

const benchRecordSize = 70 // about, in a batch

// benchBatch is a batch of about size bytes before compression.
func benchBatch(b *testing.B, codec Codec, size int) (batch []byte, records int) {
	b.Helper()
	values := benchValues(size / benchRecordSize)
	builder := NewBuilder(BuilderOptions{Codec: codec, ProducerID: NoProducerID})
	appendAll(builder, values)
	batch, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	return batch, len(values)
}

func appendAll(builder *Builder, values [][]byte) {
	for i, v := range values {
		builder.Append(record.Timestamp(1700000000000+i), nil, v, nil)
	}
}

var benchSizes = []struct {
	name  string
	bytes int
}{{"16KiB", 16 << 10}, {"1MiB", 1 << 20}}

// reportPerRecord adds the cost of one record; SetBytes gives the rate.
func reportPerRecord(b *testing.B, records int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(records), "ns/record")
}

func BenchmarkCheckCRC(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			whole, records := benchBatch(b, None, size.bytes)
			b.ReportAllocs()
			b.SetBytes(int64(len(whole)))
			for b.Loop() {
				if _, err := CheckCRC(whole); err != nil {
					b.Fatal(err)
				}
			}
			reportPerRecord(b, records)
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			whole, records := benchBatch(b, None, size.bytes)
			b.ReportAllocs()
			b.SetBytes(int64(len(whole)))
			for b.Loop() {
				if _, err := Validate(whole); err != nil {
					b.Fatal(err)
				}
			}
			reportPerRecord(b, records)
		})
	}
}

// BenchmarkIterate reads offset, timestamp and value of every record.
func BenchmarkIterate(b *testing.B) {
	for _, codec := range codecs {
		for _, size := range benchSizes {
			b.Run(codec.String()+"/"+size.name, func(b *testing.B) {
				whole, records := benchBatch(b, codec, size.bytes)
				var (
					it      Iterator
					decoder Decoder
					sum     int64
				)
				b.ReportAllocs()
				b.SetBytes(int64(records * benchRecordSize))
				for b.Loop() {
					if err := it.Reset(whole, &decoder); err != nil {
						b.Fatal(err)
					}
					for it.Next() {
						r := it.Record()
						sum += int64(r.Offset) + int64(r.Timestamp) + int64(len(r.Value))
					}
					if it.Err() != nil {
						b.Fatal(it.Err())
					}
				}
				if sum == 0 {
					b.Fatal("nothing was read")
				}
				reportPerRecord(b, records)
			})
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, codec := range codecs {
		for _, size := range benchSizes {
			b.Run(codec.String()+"/"+size.name, func(b *testing.B) {
				values := benchValues(size.bytes / benchRecordSize)
				opts := BuilderOptions{Codec: codec, ProducerID: NoProducerID}
				builder := NewBuilder(opts)
				b.ReportAllocs()
				b.SetBytes(int64(len(values) * benchRecordSize))
				for b.Loop() {
					builder.Reset(opts)
					appendAll(builder, values)
					if _, err := builder.Build(); err != nil {
						b.Fatal(err)
					}
				}
				reportPerRecord(b, len(values))
			})
		}
	}
}

func BenchmarkDecompress(b *testing.B) {
	for _, codec := range codecs[1:] {
		for _, size := range benchSizes {
			b.Run(codec.String()+"/"+size.name, func(b *testing.B) {
				whole, records := benchBatch(b, codec, size.bytes)
				var decoder Decoder
				b.ReportAllocs()
				b.SetBytes(int64(records * benchRecordSize))
				for b.Loop() {
					if _, err := decoder.Decompress(codec, whole[HeaderSize:]); err != nil {
						b.Fatal(err)
					}
				}
				reportPerRecord(b, records)
			})
		}
	}
}

// BenchmarkAppendTo takes every record apart into columns.
func BenchmarkAppendTo(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			whole, records := benchBatch(b, None, size.bytes)
			var (
				it      Iterator
				columns Columns
			)
			b.ReportAllocs()
			b.SetBytes(int64(records * benchRecordSize))
			for b.Loop() {
				columns.Reset()
				if err := it.Reset(whole, nil); err != nil {
					b.Fatal(err)
				}
				if err := it.AppendTo(&columns, 0); err != nil || len(columns.Offsets) != records {
					b.Fatal(err, len(columns.Offsets))
				}
			}
			reportPerRecord(b, records)
		})
	}
}
