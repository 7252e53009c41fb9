package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"millrace/internal/clicks"
	"millrace/internal/client"
	"millrace/record"
)

func (a *app) importCommand() *cobra.Command {
	return noun("import", "Turn files into clicks",
		"Turn files into clicks.", "  millrace import access-log /var/log/nginx/access.log",
		a.importAccessLog())
}

const accessLogHelp = `Import a web server's access log: Apache's or nginx's common or combined format,
plain or gzip; - is stdin. Each line becomes one click: the user is the client's
address, the timestamp is the request's time, the page is the path without query.

Lines that are no request are listed with number and reason, and counted; they do
not stop the import. Every click is acknowledged by all in-sync replicas: a retry
inside the import neither loses nor doubles one. Importing a file twice counts it
twice.`

const accessLogExample = `  millrace import access-log /var/log/nginx/access.log
  millrace import access-log examples/access-log/semicomplete-2015-05-access.log.gz
  zcat /var/log/apache2/access.log.*.gz | millrace import access-log -`

type importFlags struct {
	topic   string
	showBad int
	cluster cluster
	output  output
}

func (a *app) importAccessLog() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:     "access-log FILE|-",
		Short:   "Import an Apache or nginx access log",
		Long:    accessLogHelp,
		Example: accessLogExample,
		Args:    takes("FILE (or - for stdin)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importFile(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.topic, "topic", string(clicks.Topic), "topic to write to")
	flags.IntVar(&f.showBad, "show-bad", 100, "list at most so many bad lines; all are counted")
	f.cluster.register(cmd)
	f.output.register(cmd)
	return cmd
}

// importResult is what an import did.
type importResult struct {
	File     string `json:"file"`
	Topic    string `json:"topic"`
	Lines    int64  `json:"lines"`
	Imported int64  `json:"imported"`
	Bad      int64  `json:"bad"`
	Failed   int64  `json:"failed"`
}

func (a *app) importFile(ctx context.Context, name string, f importFlags) error {
	topic := record.Topic(f.topic)
	if err := topic.Validate(); err != nil {
		return usage("choose another --topic", "%s", err)
	}
	config, err := f.cluster.config()
	if err != nil {
		return err
	}
	in, err := a.openInput(name)
	if err != nil {
		return err
	}
	defer in.close()
	if err := client.Check(ctx, config); err != nil {
		return err
	}
	producer, err := client.NewProducer(config, nil)
	if err != nil {
		return err
	}
	defer producer.Close()
	i := &importer{app: a, in: in, producer: producer, topic: topic, showBad: f.showBad, result: importResult{File: name, Topic: f.topic}}
	readErr := i.run(ctx)
	return errors.Join(i.finish(f.output), readErr)
}

// importer reads lines and sends clicks.
type importer struct {
	app      *app
	in       *input
	producer *client.Producer
	topic    record.Topic
	showBad  int
	result   importResult
	bar      *progressBar
}

func (i *importer) run(ctx context.Context) error {
	i.bar = i.app.newProgressBar(i.in.size)
	defer i.bar.clear()
	lines := bufio.NewScanner(i.in.reader)
	lines.Buffer(make([]byte, 64<<10), maxLineBytes)
	for ctx.Err() == nil && lines.Scan() {
		i.result.Lines++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			i.bad(errors.New("the line is empty"))
			continue
		}
		click, err := clicks.ParseAccessLine(lines.Bytes())
		if err != nil {
			i.bad(err)
			continue
		}
		r := record.Record{TopicPartition: record.TopicPartition{Topic: i.topic}, Value: clicks.Event(click.Address, click.Page, click.At, false)}
		if err := i.producer.Send(ctx, r); err != nil {
			break // ctx ended: run says so below
		}
		i.bar.show(i.in.read.Load(), i.result.Lines)
	}
	if err := lines.Err(); err != nil {
		return &fault{code: "E1605", exit: exitFailed, err: err, what: fmt.Sprintf("%s cannot be read after line %d: %s", i.result.File, i.result.Lines, err), fix: "check the file; what was read before is imported"}
	}
	if ctx.Err() != nil {
		return &fault{code: "E1003", exit: exitFailed, what: fmt.Sprintf("interrupted after line %d; the lines before it are imported", i.result.Lines), fix: fmt.Sprintf("go on with: tail -n +%d FILE | millrace import access-log -", i.result.Lines+1)}
	}
	return nil
}

func (i *importer) bad(reason error) {
	i.result.Bad++
	if i.result.Bad > int64(i.showBad) {
		return
	}
	i.bar.clear()
	i.app.say("line %d: %s", i.result.Lines, reason)
	if i.result.Bad == int64(i.showBad) {
		i.app.say("further bad lines are counted, not listed (--show-bad)")
	}
}

// finish waits for the acknowledgements and prints the result.
func (i *importer) finish(out output) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushWithin)
	defer cancel()
	flushErr := i.producer.Flush(ctx)
	d := i.producer.Delivered()
	i.result.Imported, i.result.Failed = d.Acked, d.Failed
	r := i.result
	err := i.app.printOne(out, []string{"FILE", "TOPIC", "LINES", "IMPORTED", "BAD", "FAILED"}, row{
		cells: []string{r.File, r.Topic, fmt.Sprint(r.Lines), fmt.Sprint(r.Imported), fmt.Sprint(r.Bad), fmt.Sprint(r.Failed)},
		value: r,
	})
	switch {
	case err != nil:
		return err
	case d.Failed > 0:
		return notDelivered(d)
	case flushErr != nil:
		return fmt.Errorf("%d clicks were not acknowledged in time: %w", d.Sent-d.Acked, flushErr)
	case r.Imported == 0 && r.Bad > 0:
		return &fault{code: "E1606", exit: exitFailed, what: fmt.Sprintf("none of the %d lines of %s is a request", r.Lines, r.File), fix: "the formats are Apache's and nginx's common and combined log, plain or gzip"}
	}
	return nil
}

// input is a file or stdin, unpacked if it is gzip, with a count of what was
// read of the packed bytes.
type input struct {
	reader io.Reader
	read   *countingReader
	size   int64 // of the packed file; 0 when unknown
	close  func()
}

func (a *app) openInput(name string) (*input, error) {
	in := &input{read: &countingReader{from: a.stdin}, close: func() {}}
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, &fault{code: "E1607", exit: exitNotFound, err: err, what: fmt.Sprintf("the file cannot be opened: %s", err), fix: "name a readable file, or - for stdin"}
		}
		in.read.from = file
		in.close = func() { _ = file.Close() } // it was only read
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			in.size = info.Size()
		}
	}
	buffered := bufio.NewReaderSize(in.read, 256<<10)
	in.reader = buffered
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(buffered)
		if err != nil {
			in.close()
			return nil, &fault{code: "E1605", exit: exitFailed, err: err, what: fmt.Sprintf("%s begins like gzip but is damaged: %s", name, err), fix: "check the file with gzip -t"}
		}
		in.reader = unpacked
	}
	return in, nil
}
