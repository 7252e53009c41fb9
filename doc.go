// Package millrace processes the records of Kafka topics exactly once.
//
// A job is described with [New], [App.From] and what can be done to a [Stream];
// types say what is legal. Most readers need [Stream] and [Grouped].
//
//	clicks := app.From(raw).TryMap(parse)
//	clicks.GroupBy(user).Count("user-total").To(totals)
package millrace
