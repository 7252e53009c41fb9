// Package suite holds, in its tests, what foreign Kafka clients and tools
// expect of a broker. The programs are other projects' own; the tests drive
// them and compare what each one saw with what the log holds. TARGET=kafka runs
// every expectation against Apache Kafka.
package suite
