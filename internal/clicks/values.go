package clicks

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"strconv"
	"time"
)

// The codecs of the job's outputs. One value is written per changed user and
// commit, so they spell their JSON out instead of reflecting on it.

type userClicksCodec struct{}

func (userClicksCodec) Name() string { return "json:click_counts" }

func (userClicksCodec) Append(dst []byte, v UserClicks) ([]byte, error) {
	return appendCount(dst, `{"user_id":`, v.User, v.Clicks)
}

func (userClicksCodec) Decode(b []byte) (v UserClicks, err error) {
	return v, json.Unmarshal(b, &v)
}

type pageClicksCodec struct{}

func (pageClicksCodec) Name() string { return "json:page_counts" }

func (pageClicksCodec) Append(dst []byte, v PageClicks) ([]byte, error) {
	return appendCount(dst, `{"page":`, v.Page, v.Clicks)
}

func (pageClicksCodec) Decode(b []byte) (v PageClicks, err error) {
	return v, json.Unmarshal(b, &v)
}

func appendCount(dst []byte, field, name string, clicks int64) ([]byte, error) {
	dst, err := jsontext.AppendQuote(append(dst, field...), name)
	dst = append(dst, `,"clicks":`...)
	dst = strconv.AppendInt(dst, clicks, 10)
	return append(dst, '}'), err
}

type windowClicksCodec struct{}

func (windowClicksCodec) Name() string { return "json:click_windows" }

func (windowClicksCodec) Append(dst []byte, v WindowClicks) ([]byte, error) {
	dst, err := jsontext.AppendQuote(append(dst, `{"user_id":`...), v.User)
	dst = append(dst, `,"window_start":"`...)
	dst = v.Start.AppendFormat(dst, time.RFC3339)
	dst = append(dst, `","window_end":"`...)
	dst = v.End.AppendFormat(dst, time.RFC3339)
	dst = append(dst, `","clicks":`...)
	dst = strconv.AppendInt(dst, v.Clicks, 10)
	dst = append(dst, `,"final":`...)
	dst = strconv.AppendBool(dst, v.Final)
	return append(dst, '}'), err
}

func (windowClicksCodec) Decode(b []byte) (v WindowClicks, err error) {
	return v, json.Unmarshal(b, &v)
}
