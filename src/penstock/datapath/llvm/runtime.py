"""The few functions every image needs, in LLVM assembly: faults, copies, Internet checksums."""

__all__ = ["RUNTIME"]

RUNTIME = r"""
define internal void @pk_fault(ptr %m, i64 %counter) #1 {
  %at = getelementptr i8, ptr %m, i64 %counter
  %old = load i64, ptr %at, align 8
  %new = add i64 %old, 1
  store i64 %new, ptr %at, align 8
  ret void
}

define internal void @pk_kill(ptr noalias nonnull align 64 %m, ptr %p) #0 {
  %none = icmp eq ptr %p, null
  br i1 %none, label %done, label %free
free:
  %base = ptrtoint ptr %m to i64
  %number = ptrtoint ptr %p to i64
  %offset = sub i64 %number, %base
  call void @RELEASE@(ptr %m, i64 %offset)
  br label %done
done:
  ret void
}

; RFC 1071: the sum of 16-bit words, carries folded back in. 64 bits to 32; then both halves at once by a rotation.
define internal i32 @pk_fold(i64 %sum) #0 {
  %a1 = and i64 %sum, 4294967295
  %b1 = lshr i64 %sum, 32
  %s1 = add i64 %a1, %b1
  %a2 = and i64 %s1, 4294967295
  %b2 = lshr i64 %s1, 32
  %s2 = add i64 %a2, %b2
  %r32 = trunc i64 %s2 to i32
  %turned = call i32 @llvm.fshl.i32(i32 %r32, i32 %r32, i32 16)
  %both = add i32 %r32, %turned
  %r = lshr i32 %both, 16
  ret i32 %r
}
declare i32 @llvm.fshl.i32(i32, i32, i32)

; The sum was made of little-endian words; the ones'-complement sum does not mind, but for the byte order.
define internal i32 @pk_fold_swapped(i64 %sum) #0 {
  %f = call i32 @pk_fold(i64 %sum)
  %low = lshr i32 %f, 8
  %high = shl i32 %f, 8
  %both = or i32 %low, %high
  %r = and i32 %both, 65535
  ret i32 %r
}

define internal i32 @pk_sum(ptr %p, i32 %n32) #0 {
entry:
  %n = zext i32 %n32 to i64
  br label %wide
wide:
  %i = phi i64 [ 0, %entry ], [ %i2, %wide_body ]
  %acc = phi <8 x i64> [ zeroinitializer, %entry ], [ %acc2, %wide_body ]
  %i2 = add i64 %i, 32
  %more = icmp ule i64 %i2, %n
  br i1 %more, label %wide_body, label %reduce
wide_body:
  %at = getelementptr i8, ptr %p, i64 %i
  %v = load <8 x i32>, ptr %at, align 1
  %x = zext <8 x i32> %v to <8 x i64>
  %acc2 = add <8 x i64> %acc, %x
  br label %wide
reduce:
  %h = call i64 @llvm.vector.reduce.add.v8i64(<8 x i64> %acc)
  br label %narrow
narrow:
  %j = phi i64 [ %i, %reduce ], [ %j2, %narrow_body ]
  %sum = phi i64 [ %h, %reduce ], [ %sum2, %narrow_body ]
  %j2 = add i64 %j, 8
  %more2 = icmp ule i64 %j2, %n
  br i1 %more2, label %narrow_body, label %four
narrow_body:
  %at2 = getelementptr i8, ptr %p, i64 %j
  %w = load i64, ptr %at2, align 1
  %low = and i64 %w, 4294967295
  %high = lshr i64 %w, 32
  %halves = add i64 %low, %high
  %sum2 = add i64 %sum, %halves
  br label %narrow
four:
  %r4 = and i64 %n, 4
  %has4 = icmp ne i64 %r4, 0
  br i1 %has4, label %take4, label %two
take4:
  %at4 = getelementptr i8, ptr %p, i64 %j
  %w4 = load i32, ptr %at4, align 1
  %w464 = zext i32 %w4 to i64
  %sum4 = add i64 %sum, %w464
  br label %two
two:
  %s4 = phi i64 [ %sum, %four ], [ %sum4, %take4 ]
  %k = add i64 %j, %r4
  %r2 = and i64 %n, 2
  %has2 = icmp ne i64 %r2, 0
  br i1 %has2, label %take2, label %tail
take2:
  %at3 = getelementptr i8, ptr %p, i64 %k
  %w2 = load i16, ptr %at3, align 1
  %w264 = zext i16 %w2 to i64
  %sum22 = add i64 %s4, %w264
  br label %tail
tail:
  %s2 = phi i64 [ %s4, %two ], [ %sum22, %take2 ]
  %l = add i64 %k, %r2
  %odd = icmp ult i64 %l, %n
  br i1 %odd, label %last, label %done
last:
  %at1 = getelementptr i8, ptr %p, i64 %l
  %b = load i8, ptr %at1, align 1
  %b64 = zext i8 %b to i64
  %sum3 = add i64 %s2, %b64
  br label %done
done:
  %total = phi i64 [ %s2, %tail ], [ %sum3, %last ]
  %r = call i32 @pk_fold_swapped(i64 %total)
  ret i32 %r
}
declare i64 @llvm.vector.reduce.add.v8i64(<8 x i64>)

; Forward in blocks of 32 bytes, the last block read first; backward (rare) byte by byte.
define internal void @pk_move(ptr %d, ptr %s, i32 %n32) #0 {
entry:
  %n = zext i32 %n32 to i64
  %dn = ptrtoint ptr %d to i64
  %sn = ptrtoint ptr %s to i64
  %gap = sub i64 %dn, %sn
  %overlaps = icmp ult i64 %gap, %n
  br i1 %overlaps, label %backward, label %forward
forward:
  %big = icmp uge i64 %n, 32
  br i1 %big, label %blocks, label %small
blocks:
  %last = sub i64 %n, 32
  %tail_at = getelementptr i8, ptr %s, i64 %last
  %tail = load <32 x i8>, ptr %tail_at, align 1
  br label %loop
loop:
  %i = phi i64 [ 0, %blocks ], [ %i2, %copy ]
  %more = icmp ult i64 %i, %last
  br i1 %more, label %copy, label %finish
copy:
  %from = getelementptr i8, ptr %s, i64 %i
  %v = load <32 x i8>, ptr %from, align 1
  %to = getelementptr i8, ptr %d, i64 %i
  store <32 x i8> %v, ptr %to, align 1
  %i2 = add i64 %i, 32
  br label %loop
finish:
  %tail_to = getelementptr i8, ptr %d, i64 %last
  store <32 x i8> %tail, ptr %tail_to, align 1
  ret void
small:
  %is8 = icmp uge i64 %n, 8
  br i1 %is8, label %words, label %bytes
words:
  %k = phi i64 [ 0, %small ], [ %k2, %words_body ]
  %k2 = add i64 %k, 8
  %more8 = icmp ule i64 %k2, %n
  br i1 %more8, label %words_body, label %bytes
words_body:
  %f8 = getelementptr i8, ptr %s, i64 %k
  %v8 = load i64, ptr %f8, align 1
  %t8 = getelementptr i8, ptr %d, i64 %k
  store i64 %v8, ptr %t8, align 1
  br label %words
bytes:
  %j0 = phi i64 [ 0, %small ], [ %k, %words ]
  br label %bytes_loop
bytes_loop:
  %j = phi i64 [ %j0, %bytes ], [ %j2, %bytes_body ]
  %more1 = icmp ult i64 %j, %n
  br i1 %more1, label %bytes_body, label %done
bytes_body:
  %f1 = getelementptr i8, ptr %s, i64 %j
  %v1 = load i8, ptr %f1, align 1
  %t1 = getelementptr i8, ptr %d, i64 %j
  store i8 %v1, ptr %t1, align 1
  %j2 = add i64 %j, 1
  br label %bytes_loop
backward:
  %b = phi i64 [ %n, %entry ], [ %b2, %backward_body ]
  %left = icmp ne i64 %b, 0
  br i1 %left, label %backward_body, label %done
backward_body:
  %b2 = sub i64 %b, 1
  %fb = getelementptr i8, ptr %s, i64 %b2
  %vb = load i8, ptr %fb, align 1
  %tb = getelementptr i8, ptr %d, i64 %b2
  store i8 %vb, ptr %tb, align 1
  br label %backward
done:
  ret void
}

define internal void @pk_fill(ptr %d, i8 %byte, i32 %n32) #0 {
entry:
  %n = zext i32 %n32 to i64
  %one = insertelement <32 x i8> poison, i8 %byte, i32 0
  %all = shufflevector <32 x i8> %one, <32 x i8> poison, <32 x i32> zeroinitializer
  br label %wide
wide:
  %i = phi i64 [ 0, %entry ], [ %i2, %wide_body ]
  %i2 = add i64 %i, 32
  %more = icmp ule i64 %i2, %n
  br i1 %more, label %wide_body, label %bytes
wide_body:
  %to = getelementptr i8, ptr %d, i64 %i
  store <32 x i8> %all, ptr %to, align 1
  br label %wide
bytes:
  %j = phi i64 [ %i, %wide ], [ %j2, %bytes_body ]
  %more1 = icmp ult i64 %j, %n
  br i1 %more1, label %bytes_body, label %done
bytes_body:
  %t1 = getelementptr i8, ptr %d, i64 %j
  store i8 %byte, ptr %t1, align 1
  %j2 = add i64 %j, 1
  br label %bytes
done:
  ret void
}
"""
