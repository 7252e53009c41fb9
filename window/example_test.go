package window_test

import (
	"fmt"
	"time"

	"millrace/window"
)

// perMinute are minutes, each with five seconds of grace, kept for an hour.
func perMinute() window.Spec {
	return window.Tumbling(time.Minute).Grace(5 * time.Second).Keep(time.Hour)
}

// hops are windows of a minute that begin every 20 seconds.
func hops() window.Spec { return window.Hopping(time.Minute, 20*time.Second) }

func ExampleSpec_Grace() {
	w := perMinute().At(60_000)
	fmt.Println(w.End, perMinute().CloseAt(w))
	// Output: 120000 125000
}

func ExampleSpec_Keep() {
	fmt.Println(window.Tumbling(time.Minute).DropBefore(600_000), window.Tumbling(time.Minute).Keep(5*time.Minute).DropBefore(600_000))
	// Output: 600000 300000
}

func ExampleSpec_IsZero() {
	fmt.Println(window.Spec{}.IsZero(), perMinute().IsZero())
	// Output: true false
}

func ExampleSpec_Validate() {
	fmt.Println(window.Tumbling(0).Validate() != nil, perMinute().Validate())
	// Output: true <nil>
}

func ExampleSpec_String() {
	fmt.Println(hops())
	// Output: hopping 1m0s every 20s
}

// State is kept in slices, of which a window is made.
func ExampleSpec_Slice() {
	fmt.Println(perMinute().Slice(), hops().Slice())
	// Output: 1m0s 20s
}

func ExampleSpec_SlicesPerWindow() {
	fmt.Println(perMinute().SlicesPerWindow(), hops().SlicesPerWindow())
	// Output: 1 3
}

func ExampleSpec_SliceStart() {
	fmt.Println(hops().SliceStart(75_000))
	// Output: 60000
}

func ExampleSpec_At() {
	fmt.Println(hops().At(20_000))
	// Output: {20000 80000}
}

// A time is in the windows that begin from FirstStart to LastStart.
func ExampleSpec_FirstStart() {
	fmt.Println(hops().FirstStart(75_000), hops().LastStart(75_000))
	// Output: 20000 60000
}

func ExampleSpec_LastStart() {
	fmt.Println(perMinute().LastStart(75_000))
	// Output: 60000
}

func ExampleSpec_CloseAt() {
	fmt.Println(perMinute().CloseAt(window.Window{Start: 0, End: 60_000}))
	// Output: 65000
}

func ExampleSpec_IsLate() {
	fmt.Println(perMinute().IsLate(30_000, 64_999), perMinute().IsLate(30_000, 65_000))
	// Output: false true
}

func ExampleSpec_FirstOpen() {
	fmt.Println(perMinute().FirstOpen(64_999), perMinute().FirstOpen(65_000))
	// Output: 0 60000
}

func ExampleSpec_DropBefore() {
	fmt.Println(perMinute().DropBefore(3_665_000))
	// Output: 60000
}
