// The scheduler of a threadgroup's threads. Compiled without ThreadSanitizer's checks: it is not the code under test.
#include "backend/msl/drivers/host/group_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <iterator>
#include <new>
#include <utility>
#include <vector>

#include "backend/msl/drivers/host/fiber.h"
#include "backend/msl/drivers/host/floating_mode.h"
#include "backend/msl/drivers/host/rendezvous.h"
#include "backend/msl/drivers/host/sanitizer_hooks.h"

namespace mslt::msl::host {

// One thread of the threadgroup.
struct Lane {
  ThreadContext context;
  Fiber* fiber = nullptr;
  void* thread = nullptr;  // ThreadSanitizer's handle
  bool returned = false;
  const char* operation = nullptr;  // the operation in which it waits
  std::source_location where;
};

namespace {

// What undefined bytes are, so that reading a value before it was written spoils the result: NaN in every floating type
// or, as a maximum ignores NaN, large finite numbers in the reversed order.
int undefined_byte(const RunOrder& order) {
  return order.kind == RunOrder::Kind::reversed ? 0x7B : 0xFF;
}

// Threads that meet at one place.
struct Meeting {
  std::uint32_t first = 0;  // thread number of the first member
  std::uint32_t members = 0;
  std::uint32_t arrived = 0;
  std::uint32_t first_arrived = 0;
  // Barriers alternate between two clocks: a thread that is one barrier ahead must not release a clock that others have
  // yet to acquire.
  std::uint32_t turn = 0;
  std::array<std::uint64_t, 2>* clocks = nullptr;
  std::array<void*, simdgroup_width> slots{};
};

// The addresses that represent the order of one group's threads, new for every group.
struct GroupClocks {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::array<std::uint64_t, 2> threadgroup{};
  std::array<std::array<std::uint64_t, 2>, simdgroup_width> simdgroups{};
};

// Exactly as many bytes as the kernel may use, so AddressSanitizer detects the first one beyond.
class ExactMemory {
 public:
  ExactMemory(std::size_t bytes, std::size_t alignment)
      : bytes_(bytes), alignment_{std::max<std::size_t>(alignment, 16)}, data_(::operator new(bytes_, alignment_)) {}
  ExactMemory(const ExactMemory&) = delete;
  ExactMemory& operator=(const ExactMemory&) = delete;
  ExactMemory(ExactMemory&& other) noexcept
      : bytes_(other.bytes_), alignment_(other.alignment_), data_(std::exchange(other.data_, nullptr)) {}
  ExactMemory& operator=(ExactMemory&&) = delete;
  ~ExactMemory() {
    if (data_ != nullptr) ::operator delete(data_, alignment_);
  }

  void* data() const { return data_; }
  void forget(int undefined) const {
    std::memset(data_, undefined, bytes_);
    sanitizer::forget_values(data_, bytes_);
  }

 private:
  std::size_t bytes_;
  std::align_val_t alignment_;
  void* data_;
};

bool same_place(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

std::string place(const char* operation, const std::source_location& where) {
  return fmt::format("{} at {}:{}", operation, where.file_name(), where.line());
}

thread_local GroupRunner::Impl* running = nullptr;

void fiber_function(boost::context::detail::transfer_t transfer);

}  // namespace

class GroupRunner::Impl {
 public:
  Impl() : pool_(&fiber_function) {}

  void begin(const Dispatch& dispatch);
  std::string run(std::uint64_t group);
  void finish();

  // The target of the current switch.
  Fiber& target() const { return *target_; }
  // Runs kernel threads until the threadgroup is finished; on a fiber.
  [[noreturn]] void work(Fiber& self);

  // Called from inside a kernel.
  void meet_simdgroup(const char* operation, const std::source_location& where, void* slot, Combine combine);
  void barrier(Meeting& meeting, const char* operation, const std::source_location& where, bool orders_memory);
  Meeting& simdgroup() { return simdgroups_[current_->context.simdgroup_index_in_threadgroup]; }
  Meeting& threadgroup() { return threadgroup_; }
  std::uint32_t lane_index() const { return current_->context.thread_index_in_simdgroup; }
  std::uint32_t thread_index() const { return current_->context.thread_index_in_threadgroup; }
  // "kernel 'x', threadgroup (0, 1, 0)"
  std::string group_name() const;
  void make_mistake(std::string message) { mistake_ = std::move(message); }
  // Leaves the group after its error was reported. The stack is never unwound: nothing on it may own memory.
  [[noreturn]] void give_up();

 private:
  void allocate_memory();
  void place_lanes();
  void place_group(std::uint64_t group);
  void start_threads_of_group();
  void end_threads_of_group();
  bool come(Meeting& meeting, const char* operation, const std::source_location& where);
  void let_go(Meeting& meeting);
  void suspend(const char* operation, const std::source_location& where);
  Fiber& next(Fiber& self);
  void switch_to(Fiber& from, Fiber& to);
  std::string stuck() const;
  Lane* unstarted();
  Lane& take_ready();
  void run_entry(Lane& lane, Fiber& fiber);

  const Dispatch* dispatch_ = nullptr;
  FiberPool pool_;
  Fiber main_;
  Fiber* target_ = nullptr;
  std::vector<Lane> lanes_;
  std::vector<Meeting> simdgroups_;
  Meeting threadgroup_;
  std::vector<ExactMemory> memory_;
  std::vector<void*> argument_memory_;
  std::vector<void*> array_memory_;
  // Runnable threads; a ring with room for all. In the forward order the first to come is the first to go on, so
  // simdgroups keep step with one another. In the reversed order it is the last to come, so each simdgroup runs as far
  // as it can before another does. In a random order any of them may be the next.
  std::vector<Lane*> ready_;
  std::size_t ready_first_ = 0;
  std::size_t ready_count_ = 0;
  std::size_t started_ = 0;
  std::size_t returned_ = 0;
  Lane* current_ = nullptr;
  Extent group_;
  std::uint64_t group_number_ = 0;
  std::uint64_t dice_ = 0;
  std::string mistake_;
  std::unique_ptr<GroupClocks> clocks_;
  // ThreadSanitizer's handles: of the scheduling thread, and of one that frees the memory of finished kernel threads,
  // so that freeing does not order one group's threads before the next one's.
  void* scheduler_thread_ = nullptr;
  void* cleaning_thread_ = nullptr;
};

namespace {

void fiber_function(boost::context::detail::transfer_t transfer) {
  sanitizer::values_known(&transfer, sizeof(transfer));
  Fiber& self = running->target();
  first_switch(self, transfer);
  running->work(self);
}

}  // namespace

void GroupRunner::Impl::begin(const Dispatch& dispatch) {
  dispatch_ = &dispatch;
  scheduler_thread_ = sanitizer::current_thread();
  cleaning_thread_ = sanitizer::create_thread();
  const std::uint32_t threads = dispatch.thread_count();
  lanes_.assign(threads, Lane());
  ready_.assign(threads, nullptr);
  simdgroups_.assign((threads + simdgroup_width - 1) / simdgroup_width, Meeting());
  allocate_memory();
  place_lanes();
}

void GroupRunner::Impl::finish() {
  memory_.clear();
  sanitizer::destroy_thread(cleaning_thread_);
  dispatch_ = nullptr;
}

void GroupRunner::Impl::allocate_memory() {
  argument_memory_.assign(max_threadgroup_arguments, nullptr);
  array_memory_.clear();
  for (std::size_t i = 0; i < max_threadgroup_arguments; ++i) {
    const std::uint32_t bytes = dispatch_->threadgroup_bytes[i];
    if (bytes == 0) continue;
    memory_.emplace_back(bytes, 16);
    argument_memory_[i] = memory_.back().data();
  }
  for (const ThreadgroupArray& array : dispatch_->kernel->arrays) {
    memory_.emplace_back(array.bytes, array.alignment);
    array_memory_.push_back(memory_.back().data());
  }
}

// Values that are equal in every group.
void GroupRunner::Impl::place_lanes() {
  const Extent threads = dispatch_->threads;
  for (std::uint32_t i = 0; i < lanes_.size(); ++i) {
    ThreadContext& context = lanes_[i].context;
    context.thread_position_in_threadgroup = {i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y};
    context.threads_per_threadgroup = threads;
    context.threadgroups_per_grid = dispatch_->groups;
    context.thread_index_in_threadgroup = i;
    context.simdgroup_index_in_threadgroup = i / simdgroup_width;
    context.thread_index_in_simdgroup = i % simdgroup_width;
    context.simdgroups_per_threadgroup = static_cast<std::uint32_t>(simdgroups_.size());
  }
  for (std::uint32_t i = 0; i < simdgroups_.size(); ++i) {
    simdgroups_[i].first = i * simdgroup_width;
    simdgroups_[i].members =
        std::min<std::uint32_t>(simdgroup_width, static_cast<std::uint32_t>(lanes_.size()) - i * simdgroup_width);
  }
  threadgroup_ = Meeting();
  threadgroup_.members = static_cast<std::uint32_t>(lanes_.size());
}

void GroupRunner::Impl::place_group(std::uint64_t group) {
  const Extent groups = dispatch_->groups;
  const Extent threads = dispatch_->threads;
  group_number_ = group;
  dice_ = dispatch_->order.seed ^ group;
  group_ = {static_cast<std::uint32_t>(group % groups.x), static_cast<std::uint32_t>(group / groups.x % groups.y),
            static_cast<std::uint32_t>(group / groups.x / groups.y)};
  for (Lane& lane : lanes_) {
    ThreadContext& context = lane.context;
    const Extent inside = context.thread_position_in_threadgroup;
    context.threadgroup_position_in_grid = group_;
    context.thread_position_in_grid = {group_.x * threads.x + inside.x, group_.y * threads.y + inside.y,
                                       group_.z * threads.z + inside.z};
    context.threadgroup_arguments = argument_memory_;
    context.threadgroup_arrays = array_memory_;
    lane.fiber = nullptr;
    lane.returned = false;
    lane.operation = nullptr;
  }
  threadgroup_.arrived = 0;
  for (Meeting& simdgroup : simdgroups_) simdgroup.arrived = 0;
  ready_first_ = 0;
  ready_count_ = 0;
  started_ = 0;
  returned_ = 0;
}

void GroupRunner::Impl::start_threads_of_group() {
  if constexpr (sanitizer::sees_races) {
    clocks_ = std::make_unique<GroupClocks>();
    threadgroup_.clocks = &clocks_->threadgroup;
    for (std::size_t i = 0; i < simdgroups_.size(); ++i) simdgroups_[i].clocks = &clocks_->simdgroups[i];
    if (memory_.empty()) allocate_memory();
  }
  for (const ExactMemory& memory : memory_) memory.forget(undefined_byte(dispatch_->order));
  if constexpr (sanitizer::sees_races) sanitizer::release(&clocks_->start);
}

void GroupRunner::Impl::end_threads_of_group() {
  if constexpr (sanitizer::sees_races) {
    for (const Lane& lane : lanes_) {
      if (lane.returned || lane.fiber == nullptr) continue;
      // The group was given up.
      sanitizer::switch_thread(lane.thread);
      sanitizer::release(&clocks_->end);
      sanitizer::release(&dispatch_->end_clock);
    }
    sanitizer::switch_thread(cleaning_thread_);
    sanitizer::acquire(&clocks_->end);
    memory_.clear();
    clocks_.reset();
    sanitizer::switch_thread(scheduler_thread_);
  }
}

std::string GroupRunner::Impl::run(std::uint64_t group) {
  running = this;
  sanitizer::ignore_begin();
  mistake_.clear();
  start_threads_of_group();
  place_group(group);
  switch_to(main_, pool_.take());
  flush_subnormals(false);
  end_threads_of_group();
  if (!mistake_.empty()) pool_.reset();
  sanitizer::ignore_end();
  running = nullptr;
  return mistake_;
}

void GroupRunner::Impl::switch_to(Fiber& from, Fiber& to) {
  target_ = &to;
  switch_fiber(from, to);
}

void GroupRunner::Impl::run_entry(Lane& lane, Fiber& fiber) {
  lane.fiber = &fiber;
  current_ = &lane;
  if constexpr (sanitizer::sees_races) lane.thread = FiberPool::thread_on(fiber);
  sanitizer::switch_thread(lane.thread);
  if constexpr (sanitizer::sees_races) {
    sanitizer::acquire(&dispatch_->start_clock);
    sanitizer::acquire(&clocks_->start);
    sanitizer::acquire(&fiber.clock);
  }
  // A mode of the thread itself if switches keep it, as on x86; elsewhere of all threads of the group.
  flush_subnormals(dispatch_->flush_subnormals);
  dispatch_->kernel->entry(dispatch_->bindings, lane.context);
  if constexpr (sanitizer::sees_races) {
    sanitizer::release(&fiber.clock);
    sanitizer::release(&clocks_->end);
    sanitizer::release(&dispatch_->end_clock);
  }
  sanitizer::switch_thread(scheduler_thread_);
  lane.returned = true;
  ++returned_;
}

void GroupRunner::Impl::work(Fiber& self) {
  for (;;) {
    // Under ThreadSanitizer a stack serves one kernel thread, then rests.
    if (ready_count_ == 0 && (!sanitizer::sees_races || self.lane == nullptr)) {
      if (Lane* lane = unstarted(); lane != nullptr) {
        self.lane = lane;
        run_entry(*lane, self);
        continue;
      }
    }
    self.lane = nullptr;
    pool_.give_back(self);
    switch_to(self, next(self));
  }
}

// The next thread that has not started, null if all have.
Lane* GroupRunner::Impl::unstarted() {
  if (started_ == lanes_.size()) return nullptr;
  return &lanes_[thing_at(dispatch_->order, started_++, lanes_.size(), group_number_)];
}

// One of the runnable threads, of which there must be some.
Lane& GroupRunner::Impl::take_ready() {
  if (dispatch_->order.kind == RunOrder::Kind::reversed) {
    return *ready_[(ready_first_ + --ready_count_) % ready_.size()];
  }
  if (dispatch_->order.kind == RunOrder::Kind::random) {
    dice_ = mixed(dice_);
    std::swap(ready_[ready_first_], ready_[(ready_first_ + dice_ % ready_count_) % ready_.size()]);
  }
  Lane& lane = *ready_[ready_first_];
  ready_first_ = (ready_first_ + 1) % ready_.size();
  --ready_count_;
  return lane;
}

// Where to continue when the running fiber cannot.
Fiber& GroupRunner::Impl::next(Fiber& self) {
  if (ready_count_ > 0) {
    return *take_ready().fiber;
  }
  if (started_ < lanes_.size()) {
    Fiber& fiber = pool_.take();
    if (&fiber != &self) return fiber;
  }
  if (returned_ < lanes_.size()) mistake_ = stuck();
  return main_;
}

void GroupRunner::Impl::suspend(const char* operation, const std::source_location& where) {
  Lane& lane = *current_;
  lane.operation = operation;
  lane.where = where;
  Fiber& self = *lane.fiber;
  switch_to(self, next(self));
  lane.operation = nullptr;
  current_ = &lane;
}

// Whether the caller is the last one to arrive.
bool GroupRunner::Impl::come(Meeting& meeting, const char* operation, const std::source_location& where) {
  if (meeting.arrived == 0) {
    meeting.first_arrived = thread_index();
  } else {
    const Lane& first = lanes_[meeting.first_arrived];
    if (!same_place(first.where, where)) {
      mistake_ = fmt::format("{}: thread {} has come to {}, while thread {} waits in {}; all must come to the same.",
                             group_name(), thread_index(), place(operation, where), meeting.first_arrived,
                             place(first.operation, first.where));
      give_up();
    }
  }
  ++meeting.arrived;
  return meeting.arrived == meeting.members;
}

// Makes the waiting members of the meeting runnable: all except the caller.
void GroupRunner::Impl::let_go(Meeting& meeting) {
  meeting.arrived = 0;
  std::size_t last = ready_first_ + ready_count_;
  for (std::uint32_t i = 0; i < meeting.members; ++i) {
    Lane& lane = lanes_[meeting.first + i];
    if (&lane == current_) continue;
    ready_[last++ % ready_.size()] = &lane;
  }
  ready_count_ += meeting.members - 1;
}

void GroupRunner::Impl::meet_simdgroup(const char* operation, const std::source_location& where, void* slot,
                                       Combine combine) {
  const Lane& lane = *current_;
  sanitizer::switch_thread(scheduler_thread_);
  Meeting& meeting = simdgroup();
  meeting.slots[lane.context.thread_index_in_simdgroup] = slot;
  if (come(meeting, operation, where)) {
    combine(meeting.slots.data(), meeting.members);
    let_go(meeting);
  } else {
    suspend(operation, where);
  }
  sanitizer::switch_thread(lane.thread);
}

void GroupRunner::Impl::barrier(Meeting& meeting, const char* operation, const std::source_location& where,
                                bool orders_memory) {
  const Lane& lane = *current_;
  std::uint64_t* clock = nullptr;
  if constexpr (sanitizer::sees_races) {
    clock = &(*meeting.clocks)[meeting.turn % 2];
    if (orders_memory) sanitizer::release(clock);
  }
  sanitizer::switch_thread(scheduler_thread_);
  if (come(meeting, operation, where)) {
    ++meeting.turn;
    let_go(meeting);
  } else {
    suspend(operation, where);
  }
  sanitizer::switch_thread(lane.thread);
  if (orders_memory) sanitizer::acquire(clock);
}

std::string GroupRunner::Impl::group_name() const {
  return fmt::format("kernel '{}', threadgroup ({}, {}, {})", dispatch_->kernel->name, group_.x, group_.y, group_.z);
}

std::string GroupRunner::Impl::stuck() const {
  struct Waiting {
    const Lane* first;
    std::size_t count;
  };
  std::vector<Waiting> places;
  for (const Lane& lane : lanes_) {
    const auto same = [&lane](const Waiting& waiting) {
      return waiting.first->operation == lane.operation &&
             (lane.operation == nullptr || same_place(waiting.first->where, lane.where));
    };
    const auto found = std::find_if(places.begin(), places.end(), same);
    if (found != places.end()) {
      ++found->count;
    } else {
      places.push_back({&lane, 1});
    }
  }
  std::string message = fmt::format("{}: its threads wait for each other forever:", group_name());
  for (const Waiting& waiting : places) {
    fmt::format_to(
        std::back_inserter(message), "{} {} of {} (the first is thread {}) {}", &waiting == places.data() ? "" : ",",
        waiting.count, lanes_.size(), waiting.first->context.thread_index_in_threadgroup,
        waiting.first->operation == nullptr ? "have returned"
                                            : "wait in " + place(waiting.first->operation, waiting.first->where));
  }
  return message + ".";
}

void GroupRunner::Impl::give_up() {
  sanitizer::switch_thread(scheduler_thread_);
  Fiber& self = *current_->fiber;
  switch_to(self, main_);
  std::terminate();  // a fiber that was given up never continues
}

GroupRunner::GroupRunner() : impl_(std::make_unique<Impl>()) {}

GroupRunner::~GroupRunner() = default;

void GroupRunner::begin(const Dispatch& dispatch) {
  impl_->begin(dispatch);
}

std::string GroupRunner::run(std::uint64_t group) {
  return impl_->run(group);
}

void GroupRunner::finish() {
  impl_->finish();
}

void meet_simdgroup(const char* operation, const std::source_location& where, void* slot, Combine combine) {
  running->meet_simdgroup(operation, where, slot, combine);
}

void simdgroup_barrier(const std::source_location& where, bool orders_memory) {
  running->barrier(running->simdgroup(), "simdgroup_barrier", where, orders_memory);
}

void threadgroup_barrier(const std::source_location& where, bool orders_memory) {
  running->barrier(running->threadgroup(), "threadgroup_barrier", where, orders_memory);
}

std::uint32_t lane_index() {
  return running->lane_index();
}

void kernel_mistake(const char* what, std::int64_t value, std::int64_t limit) {
  running->make_mistake(fmt::format("{}, thread {}: {} {}, where {} is the limit.", running->group_name(),
                                    running->thread_index(), what, value, limit));
  running->give_up();
}

}  // namespace mslt::msl::host
