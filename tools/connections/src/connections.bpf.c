// The kernel's side: what sitar's probes say of a connection, and what TCP says of it.
//
// A connection of sitar ends, and a socket of TCP ends, in either order. Each end is one record in
// the ring buffer; both carry the thread and the number of the connection, by which the program
// joins them. Every table is bounded, and forgets the oldest where it is full.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

#define AF_INET 2
#define AF_INET6 10
#define TCP_CLOSE 7
#define CONNECTIONS_MAX 65536
#define RESPONSES_MAX 65536
#define REASON_MAX 24
#define KIND_ENDED 1
#define KIND_TCP 2
#define EVERY_PORT 0

// Of the kernel's structures only what is read here; libbpf finds the place of each field in the
// kernel that runs (CO-RE).
struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));

struct net {
	struct ns_common ns;
} __attribute__((preserve_access_index));

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
} __attribute__((preserve_access_index));

struct sock_common {
	__be32 skc_daddr;
	__be16 skc_dport;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));

struct inet_sock {
	__be16 inet_sport;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_acked;
	__u64 bytes_retrans;
	__u32 srtt_us;
	__u32 total_retrans;
} __attribute__((preserve_access_index));

struct nsproxy {
	struct net *net_ns;
} __attribute__((preserve_access_index));

struct task_struct {
	struct nsproxy *nsproxy;
} __attribute__((preserve_access_index));

// A connection or an answer: its number is unique within its thread.
struct id {
	__u64 number;
	__u32 tid;
	__u32 unused;
};

struct peer {
	__u8 address[16];
	__u32 netns;
	__u16 port;
	__u16 unused;
};

struct connection {
	__u64 start;
	__u64 handshake_ns;
	__u64 requests;
	__u64 answers;
	__u64 errors;
	__u64 content;
	__u64 unsent;
	__u64 latency_ns;
	__u64 latency_max_ns;
	struct peer peer;
};

struct response {
	struct id connection;
	__u64 start;
	__u64 length;
};

// The program reads these by their offsets: see record.rs.
struct ended {
	__u32 kind;
	__u32 reason_len;
	struct id id;
	__u64 end;
	struct connection connection;
	char reason[REASON_MAX];
};

struct tcp {
	__u32 kind;
	__u32 local_port;
	struct id id;
	__u64 sent;
	__u64 acked;
	__u64 received;
	__u64 retransmitted;
	__u32 srtt_us;
	__u32 retransmits;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CONNECTIONS_MAX);
	__type(key, struct id);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CONNECTIONS_MAX);
	__type(key, struct peer);
	__type(value, struct id);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, RESPONSES_MAX);
	__type(key, struct id);
	__type(value, struct response);
} responses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u16);
	__type(value, __u8);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} records SEC(".maps");

// Records for which the ring buffer had no room.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline struct id id_of(long number)
{
	struct id id = { .number = number, .tid = (__u32)bpf_get_current_pid_tgid() };
	return id;
}

static __always_inline void *reserve(__u64 size)
{
	__u32 zero = 0;
	void *record = bpf_ringbuf_reserve(&records, size, 0);
	if (!record) {
		__u64 *count = bpf_map_lookup_elem(&lost, &zero);
		if (count)
			__sync_fetch_and_add(count, 1);
	}
	return record;
}

SEC("usdt")
int BPF_USDT(connection_accepted, long number)
{
	struct id id = id_of(number);
	struct connection connection = { .start = bpf_ktime_get_ns() };
	bpf_map_update_elem(&connections, &id, &connection, BPF_ANY);
	return 0;
}

SEC("usdt")
int BPF_USDT(connection_peer, long number, long family, void *address, long port)
{
	struct id id = id_of(number);
	struct connection *connection = bpf_map_lookup_elem(&connections, &id);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct peer peer = { .port = port };
	if (!connection || family == 0)
		return 0;
	if (bpf_probe_read_user(peer.address, sizeof(peer.address), address))
		return 0;
	peer.netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	connection->peer = peer;
	bpf_map_update_elem(&peers, &peer, &id, BPF_ANY);
	return 0;
}

SEC("usdt")
int BPF_USDT(handshake_done, long number)
{
	struct id id = id_of(number);
	struct connection *connection = bpf_map_lookup_elem(&connections, &id);
	if (connection)
		connection->handshake_ns = bpf_ktime_get_ns() - connection->start;
	return 0;
}

SEC("usdt")
int BPF_USDT(request, long number)
{
	struct id id = id_of(number);
	struct connection *connection = bpf_map_lookup_elem(&connections, &id);
	if (connection)
		connection->requests += 1;
	return 0;
}

SEC("usdt")
int BPF_USDT(response, long number, long connection_number, long status, long length, long waited)
{
	struct id id = id_of(number), connection_id = id_of(connection_number);
	struct connection *connection = bpf_map_lookup_elem(&connections, &connection_id);
	struct response response = {
		.connection = connection_id,
		.start = bpf_ktime_get_ns() - waited,
		.length = length,
	};
	if (!connection)
		return 0;
	if (status >= 400)
		connection->errors += 1;
	bpf_map_update_elem(&responses, &id, &response, BPF_ANY);
	return 0;
}

SEC("usdt")
int BPF_USDT(response_end, long number, long unsent)
{
	struct id id = id_of(number);
	struct response *response = bpf_map_lookup_elem(&responses, &id);
	struct connection *connection;
	__u64 latency;
	if (!response)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &response->connection);
	if (connection) {
		latency = bpf_ktime_get_ns() - response->start;
		connection->answers += 1;
		connection->content += response->length - unsent;
		connection->unsent += unsent;
		connection->latency_ns += latency;
		if (latency > connection->latency_max_ns)
			connection->latency_max_ns = latency;
	}
	bpf_map_delete_elem(&responses, &id);
	return 0;
}

SEC("usdt")
int BPF_USDT(connection_closed, long number, void *reason, long reason_len)
{
	struct id id = id_of(number);
	struct connection *connection = bpf_map_lookup_elem(&connections, &id);
	struct ended *record;
	__u32 len = reason_len;
	if (!connection)
		return 0;
	record = reserve(sizeof(*record));
	if (record) {
		record->kind = KIND_ENDED;
		record->id = id;
		record->end = bpf_ktime_get_ns();
		record->connection = *connection;
		__builtin_memset(record->reason, 0, REASON_MAX);
		if (len > REASON_MAX)
			len = REASON_MAX;
		record->reason_len = len;
		if (len && bpf_probe_read_user(record->reason, len, reason))
			record->reason_len = 0;
		bpf_ringbuf_submit(record, 0);
	}
	bpf_map_delete_elem(&connections, &id);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_closed, struct sock *sk, int old_state, int new_state)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	struct peer peer = {};
	__u16 port = EVERY_PORT;
	struct tcp *record;
	struct id *id;
	__be32 address;
	if (new_state != TCP_CLOSE)
		return 0;
	switch (BPF_CORE_READ(sk, __sk_common.skc_family)) {
	case AF_INET:
		address = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		peer.address[10] = peer.address[11] = 0xff;
		__builtin_memcpy(peer.address + 12, &address, sizeof(address));
		break;
	case AF_INET6:
		BPF_CORE_READ_INTO(&peer.address, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
		break;
	default:
		return 0;
	}
	peer.port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	peer.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	id = bpf_map_lookup_elem(&peers, &peer);
	if (!id)
		return 0;
	if (!bpf_map_lookup_elem(&ports, &port)) {
		port = __builtin_bswap16(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
		if (!bpf_map_lookup_elem(&ports, &port))
			return 0;
	}
	record = reserve(sizeof(*record));
	if (record) {
		record->kind = KIND_TCP;
		record->local_port = __builtin_bswap16(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
		record->id = *id;
		record->sent = BPF_CORE_READ(tcp, bytes_sent);
		record->acked = BPF_CORE_READ(tcp, bytes_acked);
		record->received = BPF_CORE_READ(tcp, bytes_received);
		record->retransmitted = BPF_CORE_READ(tcp, bytes_retrans);
		// Kept in eighths.
		record->srtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
		record->retransmits = BPF_CORE_READ(tcp, total_retrans);
		bpf_ringbuf_submit(record, 0);
	}
	bpf_map_delete_elem(&peers, &peer);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
