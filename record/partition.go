package record

import "encoding/binary"

// PartitionFor is the partition that Kafka's default partitioner gives a record
// with this key in a topic of n partitions: murmur2, sign bit cleared, modulo n
// (org.apache.kafka.common.utils.Utils). All of Java, franz-go and Millrace agree
// on it; librdkafka does only with partitioner=murmur2_random.
func PartitionFor(key []byte, n int32) Partition {
	return Partition(int32(murmur2(key)&0x7fffffff) % n)
}

// murmur2 is Austin Appleby's 32-bit hash with Kafka's seed.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b)
		k *= m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
