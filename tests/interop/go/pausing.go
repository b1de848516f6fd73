package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/spark-connect-go/v40/spark/client/channel"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// watched is set when the next rows are the result that is to be interrupted.
var (
	watched bool
	once    sync.Once
)

// pausing makes the library's connection and waits in it after the first rows of the watched result: the library
// itself hands nothing out before everything is there.
type pausing struct {
	*channel.BaseBuilder
}

func (p pausing) Build(context.Context) (*grpc.ClientConn, error) {
	return grpc.NewClient(
		fmt.Sprintf("%s:%d", p.Host(), p.Port()),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStreamInterceptor(open))
}

func open(ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	streamer grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := streamer(ctx, description, connection, method, options...)
	return pausingStream{stream}, err
}

type pausingStream struct {
	grpc.ClientStream
}

func (p pausingStream) RecvMsg(message any) error {
	err := p.ClientStream.RecvMsg(message)
	if err == nil && watched && hasRows(message.(proto.Message)) {
		once.Do(func() { pause("streaming") })
	}
	return err
}

func hasRows(message proto.Message) bool {
	reflected := message.ProtoReflect()
	field := reflected.Descriptor().Fields().ByName("arrow_batch")
	return field != nil && reflected.Has(field)
}
