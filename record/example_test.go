package record_test

import (
	"fmt"
	"time"

	"millrace/record"
)

func ExampleTimestampOf() {
	fmt.Println(record.TimestampOf(time.Unix(1, 500_000_000)))
	// Output: 1500
}

func ExampleTimestamp_Time() {
	fmt.Println(record.Timestamp(1500).Time())
	// Output: 1970-01-01 00:00:01.5 +0000 UTC
}

func ExampleTopic_Validate() {
	fmt.Println(record.Topic("clicks").Validate(), record.Topic("two words").Validate() != nil)
	// Output: <nil> true
}
