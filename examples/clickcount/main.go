// Clickcount counts the clicks of the topic click_events, exactly once, whenever
// it is killed: of each user into clicks_per_user, and of each page and minute
// into clicks_per_page.
//
// Without flags it brings its own broker; with --brokers it runs on a Kafka
// cluster, on as many machines as click_events has partitions.
package main

import (
	"time"

	"millrace"
	"millrace/codec"
	"millrace/window"
)

// click is an event as it comes in; fields that are not named here are ignored.
type click struct {
	User string `json:"user_id"`
	Page string `json:"page"`
}

var (
	events  = millrace.NewTopic("click_events", codec.Bytes, codec.JSON[click]())
	perUser = millrace.NewTopic("clicks_per_user", codec.String, codec.JSON[int64]())
	perPage = millrace.NewTopic("clicks_per_page", millrace.WinKey(codec.String, time.Minute), codec.JSON[int64]())
)

// clickCount is the job. Its id names its consumer group and is the prefix of
// its internal topics; the names of the counts name their state. Change them,
// and the job begins anew.
func clickCount() *millrace.App {
	app := millrace.New("my-clicks")
	clicks := app.From(events)
	clicks.GroupBy(user).Count("users").To(perUser)
	clicks.GroupBy(page).
		Window(window.Tumbling(time.Minute).Grace(5*time.Second)).
		Count("pages", millrace.EmitFinal()).
		To(perPage)
	return app
}

func user(c click) string { return c.User }
func page(c click) string { return c.Page }

func main() { clickCount().Main() }
