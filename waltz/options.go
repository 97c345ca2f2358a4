package waltz

import (
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Defaults of what a client holds.
const (
	// AppendsMaxDefault is how many appends of one client may be unanswered.
	AppendsMaxDefault = 16384
	// AppendBytesMaxDefault is how many bytes they may have together.
	AppendBytesMaxDefault = 64 << 20
	// BufferBytesDefault is how many bytes a subscription holds for Next.
	BufferBytesDefault = 4 << 20
)

// Option changes how Dial connects and what the client does.
type Option interface{ apply(*options) }

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

type options struct {
	schemes     []Scheme
	clusterKey  string
	logger      *slog.Logger
	hooks       Hooks
	partitioner Partitioner
	creds       credentials.TransportCredentials
	grpc        []grpc.DialOption
	appendsMax  int
	bytesMax    int
}

// WithSchemes adds kinds of addresses to waltz://, which is built in. Of two
// with one name the later counts.
func WithSchemes(schemes ...Scheme) Option {
	return optionFunc(func(o *options) { o.schemes = append(o.schemes, schemes...) })
}

// WithClusterKey makes Dial fail with [ErrOtherCluster] if the log found at the
// address has another [Client.LogID]. Default: whichever log is there.
func WithClusterKey(key string) Option {
	return optionFunc(func(o *options) { o.clusterKey = key })
}

// WithLogger sets where state transitions are logged: connections made and
// lost, partitions without an owner, storages that are full. Nothing is logged per
// transaction. Default: nowhere.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(o *options) { o.logger = l })
}

// WithHooks sets functions to call upon events; see [Hooks].
func WithHooks(h Hooks) Option { return optionFunc(func(o *options) { o.hooks = h }) }

// WithPartitioner sets how [Client.PartitionFor] maps a key. Default: [HashPartitioner].
func WithPartitioner(p Partitioner) Option {
	return optionFunc(func(o *options) { o.partitioner = p })
}

// WithTransportCredentials sets TLS for the connections to servers. Default: plain
// TCP.
func WithTransportCredentials(c credentials.TransportCredentials) Option {
	return optionFunc(func(o *options) { o.creds = c })
}

// WithGRPC adds options to every connection: interceptors, stats handlers,
// keepalive. They come after the client's own, so they win.
func WithGRPC(opts ...grpc.DialOption) Option {
	return optionFunc(func(o *options) { o.grpc = append(o.grpc, opts...) })
}

// WithUnansweredMax bounds what all appends of the client hold that have no
// answer yet; more wait their turn inside Append until their context ends
// (I9). Defaults: [AppendsMaxDefault] appends, [AppendBytesMaxDefault] bytes; 0
// leaves a default.
func WithUnansweredMax(appends, bytes int) Option {
	return optionFunc(func(o *options) { o.appendsMax, o.bytesMax = appends, bytes })
}

// newOptions fills in defaults and reports every mistake.
func newOptions(opts []Option) (options, error) {
	o := options{logger: slog.New(slog.DiscardHandler), partitioner: HashPartitioner}
	for _, opt := range opts {
		opt.apply(&o)
	}
	var errs []error
	if o.appendsMax < 0 || o.bytesMax < 0 {
		errs = append(errs, fmt.Errorf("WithUnansweredMax(%d, %d): limits can't be negative", o.appendsMax, o.bytesMax))
	}
	if o.logger == nil || o.partitioner == nil {
		errs = append(errs, errors.New("WithLogger and WithPartitioner need a value"))
	}
	for _, s := range o.schemes {
		if s.Name == "" || s.Open == nil {
			errs = append(errs, fmt.Errorf("WithSchemes: scheme %q needs a name and an Open function", s.Name))
		}
	}
	if o.appendsMax == 0 {
		o.appendsMax = AppendsMaxDefault
	}
	if o.bytesMax == 0 {
		o.bytesMax = AppendBytesMaxDefault
	}
	return o, errors.Join(errs...)
}
