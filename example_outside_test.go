package millrace_test

import (
	"fmt"

	"millrace"
	"millrace/codec"
)

func ExampleStream_TryMapFrom() {
	charge := func(key, user string) error { // at a payment service that does the same key once
		fmt.Println("charge", user, "under", key)
		return nil
	}
	app := millrace.New("charges")
	app.From(clicks).TryMapFrom(func(from millrace.Origin, c Click) (Click, error) {
		return c, charge(from.String(), c.User)
	}, millrace.Named("charge"), millrace.Retry(3)).To(millrace.NewTopic("charged", codec.String, codec.JSON[Click]()))
	fmt.Print(build(app).Describe())
	// Output:
	// application charges
	//
	// sub-topology 0
	//   From clicks
	//     TryMapFrom charge; retries 3 times
	//       To charged
}
