package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	_ "github.com/waltz-log/waltz/proto/clientpb" // what there is to call
)

// asGrpcurl makes this program the command grpcurl, as far as the pages use it, if
// it was called by that name. So the pages are tested where there is none.
func asGrpcurl() (code int, called bool) {
	if filepath.Base(os.Args[0]) != "grpcurl" {
		return 0, false
	}
	if err := grpcurl(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// installGrpcurl returns a folder with that command.
func installGrpcurl(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return os.Symlink(self, filepath.Join(dir, "grpcurl"))
}

func grpcurl(args []string, out io.Writer) error {
	data, seconds := "{}", 60.0
	var rest []string
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-plaintext":
		case "-import-path", "-proto": // the contract is compiled in
			i++
		case "-d":
			i++
			data = args[i]
		case "-max-time":
			i++
			var err error
			if seconds, err = strconv.ParseFloat(args[i], 64); err != nil {
				return err
			}
		default:
			rest = append(rest, args[i])
		}
	}
	if len(rest) != 2 {
		return fmt.Errorf("grpcurl: want an address and a method, have %q", rest)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds*float64(time.Second)))
	defer cancel()
	conn, err := grpc.NewClient(rest[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	return errors.Join(invoke(ctx, conn, rest[1], data, out), conn.Close())
}

// invoke sends all messages, then prints all answers.
func invoke(ctx context.Context, conn *grpc.ClientConn, method, data string, out io.Writer) error {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(method, "/", ".")))
	if err != nil {
		return err
	}
	m := d.(protoreflect.MethodDescriptor)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/"+method)
	if err != nil {
		return err
	}
	for messages := json.NewDecoder(strings.NewReader(data)); ; {
		var raw json.RawMessage
		if err := messages.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		in := dynamicpb.NewMessage(m.Input())
		if err := protojson.Unmarshal(raw, in); err != nil {
			return err
		}
		if err := stream.SendMsg(in); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		answer := dynamicpb.NewMessage(m.Output())
		err := stream.RecvMsg(answer)
		switch {
		case errors.Is(err, io.EOF) || status.Code(err) == codes.DeadlineExceeded:
			return nil // grpcurl says the latter on stderr
		case err != nil:
			return err
		}
		text, err := protojson.Marshal(answer)
		if err != nil {
			return err
		}
		var pretty bytes.Buffer // protojson's own spaces change from build to build
		if err := json.Indent(&pretty, text, "", "  "); err != nil {
			return err
		}
		fmt.Fprintln(out, pretty.String())
	}
}
