package storageclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Options of a Client. Zero means the default, except where a field is required.
type Options struct {
	Address    string // host:port of the storage; required
	ClusterKey string // the storage must be of this cluster, or of none yet; required
	Name       string // of the storage in the metadata: one that says it has another refuses; default: any
	// CreateReplicas makes a storage that has no replica of a partition make an empty
	// one when a session opens. That is safe, since its new incarnation tells that it
	// is not one that was there before.
	CreateReplicas bool
	// QueueBytes is how much may wait to be sent or answered before Append returns
	// session.ErrBusy. Default 16 MiB; at least 64 KiB. A single frame passes always.
	QueueBytes int

	Credentials credentials.TransportCredentials                // default: none, in the clear
	Dial        func(context.Context, string) (net.Conn, error) // default: TCP
	Logger      *slog.Logger                                    // default: none
}

func (o Options) withDefaults() (Options, error) {
	var errs []error
	if o.Address == "" {
		errs = append(errs, errors.New("Address is empty"))
	}
	if o.ClusterKey == "" {
		errs = append(errs, errors.New("ClusterKey is empty"))
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 16 << 20
	}
	if o.QueueBytes < 64<<10 {
		errs = append(errs, fmt.Errorf("QueueBytes is %d, must be at least %d", o.QueueBytes, 64<<10))
	}
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("storage", o.called())
	if err := errors.Join(errs...); err != nil {
		return o, fmt.Errorf("storage client options: %w", err)
	}
	return o, nil
}

// called is the storage's name for messages.
func (o *Options) called() string {
	if o.Name == "" {
		return o.Address
	}
	return o.Name
}

// which names the storage at the beginning of an error.
func (o *Options) which() string {
	if o.Name == "" {
		return "storage at " + o.Address
	}
	return "storage " + o.Name + " at " + o.Address
}
