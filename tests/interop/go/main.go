// Apache's Go client. What it says and when it waits: tests/foreign.py.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"regexp"

	"github.com/apache/spark-connect-go/v40/spark/client/channel"
	"github.com/apache/spark-connect-go/v40/spark/client/options"
	"github.com/apache/spark-connect-go/v40/spark/sql"
)

var input = bufio.NewReader(os.Stdin)

func main() {
	options.DefaultSparkClientOptions.ReattachExecution = os.Getenv("REATTACH") != ""
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, remote, query string) error {
	parsed, err := channel.NewBuilder(remote)
	if err != nil {
		return err
	}
	spark, err := sql.NewSessionBuilder().WithChannelBuilder(pausing{parsed}).Build(ctx)
	if err != nil {
		return err
	}
	if err := build(ctx, spark); err != nil {
		return err
	}
	pause("built")
	if err := read(ctx, spark); err != nil {
		return err
	}
	fmt.Println("error", errorOf(ctx, spark))
	watched = true
	rows, err := count(ctx, spark, query)
	if err != nil {
		return err
	}
	pause(fmt.Sprint("rows ", rows))
	return spark.Stop()
}

func build(ctx context.Context, spark sql.SparkSession) error {
	frame, err := spark.Sql(ctx, "select id from range(100)")
	if err != nil {
		return err
	}
	if err := frame.CreateOrReplaceTempView(ctx, "v"); err != nil {
		return err
	}
	return spark.Config().Set(ctx, "spark.sql.shuffle.partitions", "7")
}

func read(ctx context.Context, spark sql.SparkSession) error {
	frame, err := spark.Sql(ctx, "select sum(id) from v")
	if err != nil {
		return err
	}
	rows, err := frame.Collect(ctx)
	if err != nil {
		return err
	}
	partitions, err := spark.Config().Get(ctx, "spark.sql.shuffle.partitions")
	if err != nil {
		return err
	}
	fmt.Println("state", rows[0].At(0), partitions)
	return nil
}

func errorOf(ctx context.Context, spark sql.SparkSession) string {
	frame, err := spark.Table("nothing")
	if err == nil {
		_, err = frame.Collect(ctx)
	}
	if err == nil {
		return "none"
	}
	if name := regexp.MustCompile(`\[([A-Z_]+)\]`).FindStringSubmatch(err.Error()); name != nil {
		return name[1]
	}
	return err.Error()
}

// This client has every row before it gives the first one out, so it is the connection that waits: see pausing.go.
func count(ctx context.Context, spark sql.SparkSession, query string) (int64, error) {
	frame, err := spark.Sql(ctx, query)
	if err != nil {
		return 0, err
	}
	var seen int64
	for row, err := range frame.All(ctx) {
		if err != nil {
			return seen, err
		}
		if id := row.At(0); id != seen {
			return seen, fmt.Errorf("row %v came instead of %v", id, seen)
		}
		seen++
	}
	return seen, nil
}

func pause(said string) {
	fmt.Println(said)
	// At the end of the input nobody wants it to wait.
	_, _ = input.ReadString('\n')
}
