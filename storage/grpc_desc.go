package storage

import (
	"context"
	"slices"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// serviceDesc is the contract's, except that the messages with records decode and
// encode themselves: the generated handlers insist on the generated messages, which
// copy records once more each way.
func serviceDesc() *grpc.ServiceDesc {
	desc := storagepb.Storage_ServiceDesc
	desc.Methods = slices.Clone(desc.Methods)
	for i := range desc.Methods {
		switch desc.Methods[i].MethodName {
		case "Copy":
			desc.Methods[i].Handler = handler(storagepb.Storage_Copy_FullMethodName, (*service).copyRecords)
		case "Read":
			desc.Methods[i].Handler = handler(storagepb.Storage_Read_FullMethodName, (*service).read)
		}
	}
	return &desc
}

// handler makes a unary method's handler as the generated code would.
func handler[Request, Response any](method string, call func(*service, context.Context, *Request) (*Response, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(Request)
		if err := decode(in); err != nil {
			return nil, err
		}
		do := func(ctx context.Context, in any) (any, error) { return call(srv.(*service), ctx, in.(*Request)) }
		if interceptor == nil {
			return do(ctx, in)
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, do)
	}
}

var (
	_ wire.Unmarshaler = (*wire.StorageCopy)(nil)
	_ wire.Marshaler   = (*wire.StorageFrame)(nil)
)
